"""Batches over Livy's REST API, run by Spark's own spark-submit. Cases: spec of Livy."""

import os
import signal

import pytest
from applications import counting_jar
from berth_up import wait_until
from livy_batch import Held, LivyBatch, call, marked, refusal

ARGUMENTS = """
import json, sys
from pyspark.sql import SparkSession
import helper
spark = SparkSession.builder.getOrCreate()
print("arguments", json.dumps(sys.argv[1:]))
print("conf", spark.conf.get("spark.sql.shuffle.partitions"), spark.sparkContext.appName, spark.sparkContext.master)
print("helper", helper.double(spark.range(21).count()))
"""


@pytest.fixture
def jobs(local_jobs, tmp_path_factory):
    """A directory whose files may be submitted."""
    directory = local_jobs / tmp_path_factory.mktemp("jobs").name
    directory.mkdir()
    return directory


@pytest.fixture
def submit(up):
    made = []

    def submit(file, **request):
        made.append(LivyBatch(up.endpoints["livy"], file, **request))
        return made[-1]

    yield submit
    for batch in made:
        refusal("DELETE", batch.url)


def driver_of(up, batch):
    return up.session(client_id=f"batch-{batch.id}")["driver"]


def test_a_python_file_runs_with_its_arguments_files_and_confs(up, submit, jobs):
    """livy#92, #93, #95; arguments with blanks, quotes and line ends"""
    (jobs / "app.py").write_text(ARGUMENTS)
    (jobs / "helper.py").write_text("def double(n):\n    return 2 * n\n")
    arguments = ["a b", "it's", '"quoted"', "$HOME", "two\nlines", ""]
    batch = submit(jobs / "app.py", args=arguments, pyFiles=[f"file:{jobs}/helper.py"], name="app",
                   conf={"spark.sql.shuffle.partitions": 7})
    assert set(batch.created) == {"id", "name", "owner", "proxyUser", "state", "appId", "appInfo", "log"}
    batch.wait("success")
    log = batch.log()
    assert 'arguments ["a b", "it\'s", "\\"quoted\\"", "$HOME", "two\\nlines", ""]' in log
    assert "conf 7 app local[2]" in log
    assert "helper 42" in log
    total, page = 0, None
    while page != []:
        page = batch.log(total, 100)
        total += len(page)
    assert total == len(log)
    wait_until(lambda: f"batch-{batch.id}" not in serving(up), 30, "its place is not given back")


def serving(up):
    return [row["client_id"] for row in up.ask("sessions") if row["state"] != "closed"]


def test_a_jar_runs_its_class(submit, jobs):
    batch = submit(counting_jar(jobs), className="Counting", args=[5]).wait("success")
    assert "counted 5" in batch.log()


def test_a_failing_batch_is_dead_and_says_why(submit, jobs):
    """livy#93"""
    (jobs / "failing.py").write_text("import sys\nprint('so far')\nsys.exit(3)\n")
    batch = submit(jobs / "failing.py").wait("dead")
    assert batch.log()[-1] == "berth: the application ended with exit code 3"
    assert "so far" in batch.log()


def test_a_deleted_batch_leaves_no_process(up, submit, jobs):
    """livy#94"""
    held = Held(jobs)
    batch = submit(held.file, args=[str(jobs)]).wait("running")
    held.wait_for_run()
    driver = driver_of(up, batch)
    assert len(marked(driver)) >= 4, "supervisor, runner, JVM and Python"
    assert batch.delete() == {"msg": "deleted"}
    assert marked(driver) == []
    assert refusal("GET", batch.url) == (404, f"Session '{batch.id}' not found.")


def test_a_batch_that_is_killed_from_outside_says_so(up, submit, jobs):
    """livy#47"""
    held = Held(jobs)
    batch = submit(held.file, args=[str(jobs)])
    held.wait_for_run()
    (jvm,) = [pid for pid in marked(driver_of(up, batch)) if is_jvm(pid)]
    os.kill(jvm, signal.SIGKILL)
    batch.wait("killed")
    assert batch.log()[-1] == "berth: the application was ended by SIGKILL"


def is_jvm(pid):
    with open(f"/proc/{pid}/cmdline", "rb") as line:
        return b"org.apache.spark.deploy.SparkSubmit" in line.read()


def test_i3_a_batch_whose_host_dies_is_dead_and_leaves_nothing(up, submit, jobs):
    held = Held(jobs)
    batch = submit(held.file, args=[str(jobs)])
    held.wait_for_run()
    session = up.session(client_id=f"batch-{batch.id}")
    os.kill(up.driver_of(session)["pid"], signal.SIGKILL)
    batch.wait("dead")
    assert "on-node-loss=rerun" in batch.log()[-1]
    wait_until(lambda: not marked(session["driver"]), 30, "its processes live on")
    assert held.runs() == 1


def test_a_batch_whose_host_dies_runs_again_if_it_asked_for_it(up, submit, jobs):
    """livy#114"""
    held = Held(jobs)
    batch = submit(held.file, args=[str(jobs)], conf={"spark.berth.batch.on-node-loss": "rerun"})
    held.wait_for_run()
    session = up.session(client_id=f"batch-{batch.id}")
    os.kill(up.driver_of(session)["pid"], signal.SIGKILL)
    held.wait_for_run(2)
    assert not marked(session["driver"]), "two runs at once"
    held.go()
    batch.wait("success")
    assert batch.seen <= {"starting", "running", "success"}
    assert held.runs() == 2


def test_i7_neither_the_node_s_files_nor_its_master_are_the_client_s(up, jobs):
    """livy#39, #40, #90, #91: refused before anything is there"""
    url = f"http://{up.endpoints['livy']}/batches"
    before = call("GET", url)["total"]
    cases = [
        ({"file": "/etc/passwd"}, "cannot be added to user sessions"),
        ({"file": f"{jobs}/../../../etc/passwd"}, "cannot be added to user sessions"),
        ({"file": f"{jobs}/a.py", "conf": {"spark.master": "local[8]"}}, "spark.master"),
        ({"file": f"{jobs}/a.py", "conf": {"spark.submit.deployMode": "cluster"}}, "spark.submit.deployMode"),
        ({"file": f"{jobs}/a.py", "kind": "pyspark"}, "kind"),
        ({"className": "a.B"}, "File is required"),
    ]
    for body, why in cases:
        status, message = refusal("POST", url, body)
        assert status == 400 and why in message, message
    assert call("GET", url)["total"] == before
