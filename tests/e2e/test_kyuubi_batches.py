"""Batches over Kyuubi's REST API, run by Spark's own spark-submit. Cases: spec of Kyuubi's REST API."""

import base64
import os
import signal
import threading
import uuid
from pathlib import Path

import pytest
from applications import counting_jar
from berth_up import wait_until
from kyuubi_batch import KyuubiBatch, in_parts
from kyuubi_client import Kyuubi
from livy_batch import Held, marked

FIELDS = {"id", "user", "batchType", "name", "appStartTime", "appId", "appUrl", "appState", "appDiagnostic",
          "kyuubiInstance", "state", "createTime", "endTime", "batchInfo"}
READING = """
import helper, sys
from pyspark import SparkFiles
from pyspark.sql import SparkSession
spark = SparkSession.builder.getOrCreate()
for name in ("a.txt", "b.txt"):
    print("read", name, open(SparkFiles.get(name)).read())
print("helper", helper.double(spark.range(21).count()))
print("file", __file__)
"""


@pytest.fixture
def jobs(local_jobs, tmp_path_factory):
    """A directory whose files may be submitted."""
    directory = local_jobs / tmp_path_factory.mktemp("kyuubi jobs").name
    directory.mkdir()
    return directory


@pytest.fixture
def client(up, user):
    return Kyuubi(up.endpoints["kyuubi"], user)


@pytest.fixture
def submit(client):
    made = []

    def submit(resource, **request):
        made.append(KyuubiBatch.submit(client, resource, **request))
        return made[-1]

    yield submit
    for batch in made:
        client.ask("DELETE", f"batches/{batch.id}")


def script(jobs, text, name="app.py"):
    (jobs / name).write_text(text)
    return jobs / name


def test_a_jar_from_its_submission_to_its_end(up, client, submit, jobs):
    """kyuubi#48"""
    batch = submit(counting_jar(jobs), kind="spark", className="Counting", args=[5], name="count",
                   conf={"spark.executor.memory": "512m", "some.conf": "x", "kyuubi.client.version": "1.10.2"})
    created = batch.created
    assert set(created) == FIELDS
    assert (created["batchType"], created["name"], created["user"]) == ("SPARK", "count", client_user(client))
    assert created["state"] in ("PENDING", "RUNNING") and (created["endTime"], created["batchInfo"]) == (0, {})
    assert created["kyuubiInstance"] == up.endpoints["kyuubi"]
    ended = batch.wait("FINISHED")
    assert ended["appId"] and ended["appState"] == "FINISHED" and ended["appDiagnostic"] is None
    assert created["createTime"] <= ended["appStartTime"] <= ended["endTime"]
    log = batch.log()
    assert "counted 5" in log
    assert log[0].startswith("WARN some.conf")
    assert client.call("GET", "sessions") == []
    wait_until(lambda: batch.id not in serving(up), 30, "its place is not given back")


def serving(up):
    return [row["client_id"] for row in up.ask("sessions") if row["state"] != "closed"]


def client_user(client):
    return base64.b64decode(client.headers["Authorization"].split()[1]).decode().split(":")[0]


def test_a_python_file_runs_and_its_log_is_read_page_by_page(client, submit, jobs):
    """kyuubi#49, #58: while it runs, after its end, and from where the reader is"""
    held = Held(jobs)
    lines = "".join(f"print('line {n}', flush=True)\n" for n in range(500))
    held.file.write_text(lines + held.file.read_text())
    batch = submit(held.file, kind="pyspark", className="ignored", args=[str(jobs)])
    assert batch.created["batchType"] == "PYSPARK"
    held.wait_for_run()
    running = [*batch.log(0, 10), *batch.log(10, 10)]
    whole = batch.log()
    assert whole[:20] == running and "line 499" in whole
    held.go()
    batch.wait("FINISHED")
    assert batch.log()[:len(whole)] == whole and "sum 45" in batch.log(len(whole))
    read = batch.log(0, 10) + batch.log(10, 10)
    for _ in range(3):
        read += batch.log(-1, 100)
    assert read == batch.log(0, 320)
    batch.log()
    assert batch.log(-1) == []


def test_what_cannot_be_submitted_leaves_nothing(client, jobs):
    """kyuubi#50, #51: 400, which Kyuubi tells as 500"""
    file = str(script(jobs, "print(1)"))
    before = client.call("GET", "batches")["total"]
    cases = [
        ({"batchType": "SPARK", "resource": file}, "className"),
        ({"batchType": "PYSPARK"}, "resource"),
        ({"batchType": "FLINK", "resource": file, "className": "a.B"}, "FLINK"),
        ({"batchType": "PYSPARK", "resource": "/etc/passwd"}, "broker.livy.local-dirs"),
        ({"batchType": "PYSPARK", "resource": file, "conf": {"kyuubi.batch.id": "seven"}}, "not a UUID"),
        ({"batchType": "PYSPARK", "resource": file, "conf": {"spark.master": "local[8]"}}, "spark.master"),
    ]
    for body, why in cases:
        status, message = client.refused("POST", "batches", body)
        assert status == 400 and why in message, (status, message)
    assert client.call("GET", "batches")["total"] == before
    client.headers["Content-Type"] = "text/plain"
    assert client.refused("POST", "batches", raw=b"x")[0] == 415


def test_i3_an_id_is_submitted_once(client, jobs):
    """kyuubi#51, #52: of two that come at once one submits, and both are answered"""
    held = Held(jobs)
    mine = str(uuid.uuid4())
    body = {"batchType": "PYSPARK", "resource": str(held.file), "args": [str(jobs)], "conf": {"kyuubi.batch.id": mine}}
    answers = []
    calls = [threading.Thread(target=lambda: answers.append(client.ask("POST", "batches", body))) for _ in range(4)]
    for call in calls:
        call.start()
    for call in calls:
        call.join()
    assert [status for status, _, _ in answers] == [200] * 4
    again = KyuubiBatch(client, client.call("POST", "batches", body))
    assert (again.id, again.created["batchInfo"]) == (mine, {"kyuubi.batch.duplicated": "true"})
    assert sum("duplicated" in text for _, _, text in answers) == 3
    held.wait_for_run()
    held.go()
    again.wait("FINISHED")
    assert held.runs() == 1


def test_files_come_with_the_request_and_go_with_the_batch(client):
    """kyuubi#53, #54"""
    request = {"batchType": "PYSPARK", "resource": "app.py", "name": "parts",
               "extraResourcesMap": {"spark.files": "a.txt,b.txt", "spark.submit.pyFiles": "helper.py"}}
    files = {"resourceFile": ("../../app.py", READING.encode()), "a.txt": (None, b"aaa"),
             "helper.py": (None, b"def double(n):\n    return 2 * n\n")}
    status, refused = in_parts(client, request, files)
    assert status == 400 and "b.txt" in refused["message"] and "a.txt" not in refused["message"]
    files["b.txt"] = (None, b"bbb")
    status, refused = in_parts(client, request, files, media="text/plain")
    assert status == 400 and "application/json" in refused["message"]
    status, created = in_parts(client, request, files)
    assert status == 200, created
    batch = KyuubiBatch(client, created)
    batch.wait("FINISHED")
    log = batch.log()
    assert {"read a.txt aaa", "read b.txt bbb", "helper 42"} <= set(log), log
    (file,) = [Path(line.removeprefix("file ")) for line in log if line.startswith("file ")]
    assert file.name == "app.py"
    # All of them are below its directory's parent.
    wait_until(lambda: not file.parents[1].exists(), 30, "files stay on the node")


def test_a_jar_comes_with_the_request(client, tmp_path):
    """kyuubi#53"""
    jar = counting_jar(tmp_path).read_bytes()
    request = {"batchType": "SPARK", "resource": "counting.jar", "className": "Counting", "args": ["7"]}
    status, created = in_parts(client, request, {"resourceFile": ("counting.jar", jar)})
    assert status == 200, created
    batch = KyuubiBatch(client, created)
    batch.wait("FINISHED")
    assert "counted 7" in batch.log()


def test_batches_are_found_by_what_they_are(client, submit, jobs):
    """kyuubi#55, #56, #57"""
    user = client_user(client)
    good = submit(script(jobs, "print('good')", "good.py"), name="good")
    bad = submit(script(jobs, "raise SystemExit(3)", "bad.py"), name="bad")
    shown = good.wait("FINISHED"), bad.wait("ERROR")
    assert shown[1]["appState"] == "FAILED" and "exit code 3" in shown[1]["appDiagnostic"]

    def found(**query):
        words = "&".join(f"{key}={value}" for key, value in {"batchUser": user, **query}.items())
        page = client.call("GET", f"batches?{words}")
        assert page["total"] == len(page["batches"])
        return [batch["id"] for batch in page["batches"]]

    both = [good.id, bad.id]
    assert found() == found(batchType="pyspark") == both
    assert found(desc="true") == both[::-1]
    assert found(batchType="SPARK") == found(batchUser="nobody") == []
    assert found(batchName="bad") == found(batchState="error") == found(size=1, **{"from": 1}) == [bad.id]
    assert found(size=1) == [good.id]
    times = [batch["createTime"] for batch in shown]
    assert found(createTime=times[1] + 1) == []
    assert found(createTime=times[0], endTime=max(batch["endTime"] for batch in shown)) == both
    status, message = client.refused("GET", "batches?batchState=BOGUS")
    assert status == 400 and "PENDING, RUNNING, FINISHED, ERROR, CANCELED" in message
    assert client.refused("GET", "batches?createTime=5&endTime=4")[0] == 400
    for unknown in (str(uuid.uuid4()), "xyz"):
        for method, path in (("GET", ""), ("GET", "/localLog"), ("DELETE", "")):
            status, message = client.refused(method, f"batches/{unknown}{path}")
            assert status == 404 and message.startswith(f"Invalid batchId: {unknown}")


def test_a_batch_that_is_deleted_ends_and_stays_to_be_read_of(up, submit, jobs):
    """kyuubi#59"""
    held = Held(jobs)
    batch = submit(held.file, args=[str(jobs)])
    held.wait_for_run()
    assert batch.shown()["appState"] == "RUNNING"
    session = up.session(client_id=batch.id)
    assert session["dialect"] == "kyuubi"
    driver = session["driver"]
    assert len(marked(driver)) >= 4, "supervisor, runner, JVM and Python"
    told = batch.cancel()
    assert told["success"] is True, told
    shown = batch.wait("CANCELED")
    assert (shown["appState"], shown["appId"]) == ("KILLED", driver) and shown["endTime"] > 0
    wait_until(lambda: not marked(driver), 30, "its processes live on")
    assert batch.cancel()["success"] is False
    assert "cancelled" in batch.log()[-1]
    assert held.runs() == 1


def test_a_batch_that_is_killed_from_outside_is_in_error(up, submit, jobs):
    held = Held(jobs)
    batch = submit(held.file, args=[str(jobs)])
    held.wait_for_run()
    (jvm,) = [pid for pid in marked(up.session(client_id=batch.id)["driver"]) if is_jvm(pid)]
    os.kill(jvm, signal.SIGKILL)
    shown = batch.wait("ERROR")
    assert shown["appState"] == "KILLED" and "SIGKILL" in shown["appDiagnostic"]


def is_jvm(pid):
    with open(f"/proc/{pid}/cmdline", "rb") as line:
        return b"org.apache.spark.deploy.SparkSubmit" in line.read()


def test_i3_a_batch_whose_host_dies_is_in_error_unless_it_asked_for_another_run(up, submit, jobs):
    held = Held(jobs)
    batch = submit(held.file, args=[str(jobs)])
    held.wait_for_run()
    kill_host(up, batch)
    assert "on-node-loss=rerun" in batch.wait("ERROR")["appDiagnostic"]
    again = submit(held.file, args=[str(jobs)], conf={"spark.berth.batch.on-node-loss": "rerun"})
    held.wait_for_run(2)
    kill_host(up, again)
    held.wait_for_run(3)
    held.go()
    again.wait("FINISHED")
    assert held.runs() == 3


def kill_host(up, batch):
    os.kill(up.driver_of(up.session(client_id=batch.id))["pid"], signal.SIGKILL)


def test_the_calls_are_described_and_counted(client, up):
    paths = client.call("GET", "/api/openapi.json")["paths"]
    assert "/api/v1/batches/{batch}/localLog" in paths and "post" in paths["/api/v1/batches"]
    asked = client.call("POST", "batches/reassign", {"kyuubiInstance": "gone:10099"})
    assert asked == {"batchIds": [], "originalKyuubiInstance": "gone:10099", "newKyuubiInstance": up.endpoints["kyuubi"]}
    status, message = client.refused("POST", "batches/reassign", {"kyuubiInstance": up.endpoints["kyuubi"]})
    assert status == 400 and "alive" in message
    for kind in ("SPARK", "PYSPARK"):
        total = client.call("GET", f"batches?size=10000&batchType={kind}")["total"]
        assert client.call("GET", f"admin/batch/count?batchType={kind}") == {"count": total}
