"""A batch whose profile has a cluster for a master: Spark's own standalone one. Cases: spec of Livy."""

import json
import os
import urllib.error
import urllib.request

import pyspark
import pytest
from berth_up import Up, wait_until
from livy_batch import Held, LivyBatch, call, marked
from livy_client import LivySession
from processes import Process

HOME = os.path.dirname(pyspark.__file__)
LOCAL = ("--host", "127.0.0.1", "--webui-port", "0")


def spark_process(name, directory, *words):
    command = [f"{HOME}/bin/spark-class", f"org.apache.spark.deploy.{name}", *LOCAL, *words]
    return Process(name.rsplit(".", 1)[1], command, directory, env={"SPARK_HOME": HOME}).start()


@pytest.fixture
def master(tmp_path):
    master = spark_process("master.Master", tmp_path, "--port", "0")
    master.url = master.wait_for(r"Starting Spark master at (spark://\S+)").group(1)
    worker = spark_process("worker.Worker", tmp_path, "--cores", "2", "--memory", "2g", "-d", str(tmp_path), master.url)
    worker.wait_for("Successfully registered with master")
    port = master.wait_for(r"Successfully started service 'MasterUI' on port (\d+)").group(1)
    master.page = f"http://127.0.0.1:{port}"
    yield master
    worker.kill()
    master.kill()


@pytest.fixture
def berth(master, tmp_path):
    jobs = tmp_path / "jobs"
    jobs.mkdir()
    sets = [f"agent.profiles.away.master={json.dumps(master.url)}", "agent.profiles.away.warm=0",
            f"broker.livy.local-dirs=[{json.dumps(str(jobs))}]"]
    up = Up(tmp_path / "data", "--warm", "0", *(part for each in sets for part in ("--set", each)))
    up.jobs = jobs
    yield up
    up.stop()


def test_a_batch_runs_on_its_profile_s_cluster_and_leaves_it(berth, master):
    """livy#94"""
    held = Held(berth.jobs)
    request = {"args": [str(held.directory)], "executorMemory": "512m", "conf": {"spark.berth.profile": "away"}}
    batch = LivyBatch(berth.endpoints["livy"], held.file, **request)
    held.wait_for_run()
    assert "Registered app" in master.said()
    driver = berth.session(client_id=f"batch-{batch.id}")["driver"]
    assert call("DELETE", batch.url) == {"msg": "deleted"}
    assert not marked(driver)
    wait_until(lambda: states(master), 30, "the cluster keeps the application")
    held.go()
    done = LivyBatch(berth.endpoints["livy"], held.file, **request).wait("success")
    assert "sum 45" in done.log()


def states(master):
    """How the applications that the cluster is rid of ended there."""
    with urllib.request.urlopen(f"{master.page}/json/", timeout=10) as answer:
        return [app["state"] for app in json.load(answer)["completedapps"]]


def test_the_application_of_a_deleted_session_is_finished(berth, master):
    """livy#43: and not killed, as the cluster counts it: Berth ends its driver, and asks nobody to kill it"""
    session = LivySession(berth.endpoints["livy"], conf={"spark.berth.profile": "away"}).wait_idle()
    assert session.run("spark.range(10).count()") == "10"
    assert states(master) == []
    assert session.call("DELETE", f"/{session.id}") == {"msg": "deleted"}
    with pytest.raises(urllib.error.HTTPError) as refused:
        session.state()
    assert refused.value.code == 404
    wait_until(lambda: states(master), 30, "the cluster keeps the application")
    assert states(master) == ["FINISHED"]
