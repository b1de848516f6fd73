"""Code sessions over Livy's REST API. Cases: spec of Livy."""

import json
import urllib.error

import pytest
from berth_up import wait_until
from livy_client import Caller, LivySession


@pytest.fixture
def livy(up):
    up.wait_warm()
    session = LivySession(up.endpoints["livy"]).wait_idle()
    yield session
    session.close()


def kill(up, livy):
    up.kill_driver(dialect="livy", client_id=str(livy.id))


def test_i2_code_is_replayed_after_an_idle_driver_is_killed(up, livy, tmp_path):
    """Variables, functions and views are back; what wrote to a file is not done twice, and said."""
    target = tmp_path / "written"
    assert livy.run("x = 20\ndef double(n):\n    return 2 * n") == ""
    livy.run("spark.range(7).createOrReplaceTempView('v')")
    livy.run(f"with open({str(target)!r}, 'a') as out:\n    out.write('once\\n')\ny = 5")
    up.wait_warm()
    kill(up, livy)
    assert livy.run("double(x) + 2") == "42"
    assert livy.run("select count(*) as n from v", kind="sql") != ""
    assert livy.run("spark.table('v').count()") == "7"
    assert target.read_text() == "once\n"
    session = up.session(dialect="livy", client_id=str(livy.id))
    history = [row["what"] for row in up.ask("explain", session["id"]) if row["kind"] == "history"]
    assert any("outside effects" in what for what in history), history


def test_i3_a_statement_that_was_running_is_not_run_again(up, livy, tmp_path):
    target = tmp_path / "written"
    statement = livy.submit(
        f"import time\nwith open({str(target)!r}, 'a') as out:\n    out.write('once\\n')\ntime.sleep(600)")
    wait_until(target.exists, 60, "the statement does not run")
    waiting = livy.submit("6 * 7")
    up.wait_warm()
    kill(up, livy)
    output = livy.output(statement)
    assert (output["status"], output["ename"]) == ("error", "OutcomeUnknown")
    # What had surely not begun is run on the next driver.
    assert livy.output(waiting)["data"]["text/plain"] == "42"
    assert target.read_text() == "once\n"


def test_sql_that_only_reads_runs_again(up, livy, tmp_path):
    """Nothing that it did was visible outside, whenever its driver was lost. Of Python that asks Spark nobody knows."""
    gate = tmp_path / "gate"
    livy.run(f"""import os, time
def held(n):
    while not os.path.exists({str(gate)!r}):
        time.sleep(0.02)
    return n
spark.udf.register("held", held, "int")""")

    def killed(code, **more):
        statement = livy.submit(code, **more)
        shown = lambda: livy.call("GET", f"/{livy.id}/statements/{statement}")["state"]  # noqa: E731
        wait_until(lambda: shown() == "running", 60, "it does not run")
        up.wait_warm()
        kill(up, livy)
        return statement

    assert livy.output(killed("spark.sql('select held(1)').collect()"))["ename"] == "OutcomeUnknown"
    statement = killed("select held(42) as n", kind="sql")
    gate.touch()
    output = livy.output(statement)
    assert output["status"] == "ok", output
    assert output["data"]["application/json"]["data"] == [[42]]


def test_a_statement_is_cancelled_and_the_session_goes_on(livy, tmp_path):
    """livy#69: Python, a job of Spark that Python has asked for, and SQL, each while it surely runs"""
    slow = "def slow(n):\n    import time\n    open({!r} % n, 'w').close()\n    time.sleep(600)\n    return n\n" \
           "spark.udf.register('slow', slow, 'int')"
    livy.run(slow.format(str(tmp_path / "%d")))
    codes = ["slow(0)", "sc.parallelize([1], 1).map(slow).collect()", "select slow(2)"]
    for number, code in enumerate(codes):
        statement = livy.submit(code, kind="sql" if code.startswith("select") else "pyspark")
        wait_until((tmp_path / str(number)).exists, 60, f"it does not run: {code}")
        assert livy.state() == "busy"
        livy.call("POST", f"/{livy.id}/statements/{statement}/cancel")
        assert wait_until(lambda: livy.ended(statement), 60, f"not cancelled: {code}")["state"] == "cancelled"
        assert livy.run("1 + 1") == "2"
    assert livy.state() == "idle"


def test_progress_goes_from_nothing_to_all(livy, tmp_path):
    """livy#74: of a job of Python and of SQL, with two of four tasks held back"""
    gate = "import os, time\ndef held(n):\n    while n > 1 and not os.path.exists({!r} % kind):\n" \
           "        time.sleep(0.02)\n    return n\nspark.udf.register('held', held, 'int')"
    codes = {"pyspark": "sc.parallelize(range(4), 4).map(held).sum()",
             "sql": "select sum(held(id)) from range(0, 4, 1, 4)"}
    shown = lambda number: livy.call("GET", f"/{livy.id}/statements/{number}")  # noqa: E731
    for kind, code in codes.items():
        livy.run(f"kind = {kind!r}\n" + gate.format(str(tmp_path / "%s")))
        statement = livy.submit(code, kind=kind)
        progress = wait_until(lambda: shown(statement)["progress"], 60, f"no progress of {kind}")
        assert 0 < progress < 1
        wait_until(lambda: shown(statement)["progress"] == 0.5, 60, f"two of four tasks of {kind} are not half")
        (tmp_path / kind).touch()
        assert livy.output(statement)["status"] == "ok"
        assert shown(statement)["progress"] == 1


def test_code_and_outputs_over_their_limits(livy):
    """413 for code, an error for an output; the session goes on with what it had"""
    livy.run("x = 42")
    with pytest.raises(urllib.error.HTTPError) as refused:
        livy.submit("#" * ((1 << 20) + 1))
    assert (refused.value.code, json.load(refused.value)["msg"]) == (413, "the request is larger than 1048576 bytes")
    output = livy.output(livy.submit("large = 'x' * (17 << 20)\n%json large"))
    assert (output["status"], output["ename"], output["traceback"]) == ("error", "OutputTooLarge", [])
    assert livy.run("%json x")["data"] == {"application/json": 42}
    assert livy.run("large = large[:10 << 20]\n%json large")["data"] == {"application/json": "x" * (10 << 20)}
    # Text is cut, at 8 MiB; what sparkmagic reads a frame from may be some MiB long.
    assert 8 << 20 <= len(livy.run("'x' * (17 << 20)")) < (8 << 20) + 100
    rows = livy.run("for n in range(3000): print('{\"n\": %d, \"t\": \"%s\"}' % (n, 'x' * 1000))")
    assert json.loads(rows.splitlines()[-1])["n"] == 2999
    assert (livy.run("x"), livy.state()) == ("42", "idle")


def test_an_interrupt_cancels_and_a_stop_leaves_a_dead_session(up, livy):
    """livy#48, #49"""
    statement = livy.submit("import time; time.sleep(600)")
    waiting = livy.submit("1")
    wait_until(lambda: livy.call("GET", f"/{livy.id}/statements/{statement}")["state"] == "running", 60, "not running")
    assert livy.call("POST", f"/{livy.id}/interrupt") == {"msg": "interrupted"}
    for each in (statement, waiting):
        assert wait_until(lambda: livy.ended(each), 60, "not cancelled")["state"] == "cancelled"
    assert livy.run("1 + 1") == "2"
    assert livy.call("POST", f"/{livy.id}/connect")["state"] == "idle"
    driver = up.session(dialect="livy", client_id=str(livy.id))["driver"]
    assert livy.call("POST", f"/{livy.id}/stop") == 204
    assert livy.state() == "dead"
    assert livy.id in [each["id"] for each in livy.call("GET", "")["sessions"]]
    wait_until(lambda: driver not in [row["id"] for row in up.ask("drivers")], 60, "its driver stays")


def test_errors_are_outputs_with_a_traceback(livy):
    output = livy.output(livy.submit("1 / 0"))
    assert (output["status"], output["ename"]) == ("error", "ZeroDivisionError")
    assert output["traceback"]


@pytest.mark.parametrize("conf", ["spark.driver.extraJavaOptions", "spark.submit.deployMode", "spark.master"])
def test_i7_confs_that_reach_the_node_are_refused(up, conf):
    """livy#40"""
    with pytest.raises(urllib.error.HTTPError) as refused:
        LivySession(up.endpoints["livy"], conf={conf: "client"})
    assert refused.value.code == 400
    assert conf.encode() in refused.value.read()


def output(statement):
    return statement["output"] and statement["output"]["data"]["text/plain"]


def test_i2_a_second_start_knows_its_sessions(tmp_path):
    """livy#109, #111: `berth up` ended with Ctrl-C and started again on the same data directory."""
    import signal

    from berth_up import Up
    from pyspark.sql import SparkSession

    first = Up(tmp_path / "data", "--warm", "1")
    first.wait_warm()
    spark = SparkSession.builder.remote(f"{first.url}/;user_id=again").create()
    spark.range(5).createOrReplaceTempView("v")
    session_id = spark.session_id
    owner = Caller(first, "again")
    _, headers, made = owner("POST", "/sessions", {"kind": "pyspark", "name": "kept"})
    path = headers["Location"]
    wait_until(lambda: owner("GET", f"{path}/state")[2]["state"] == "idle", 180, "the Livy session does not start")
    owner("POST", f"{path}/statements", {"code": "x = 20\nx + 1"})
    text = lambda caller, number: output(caller("GET", f"{path}/statements/{number}")[2])  # noqa: E731
    assert wait_until(lambda: text(owner, 0), 60, "no output") == "21"
    deleted = owner("POST", "/sessions", {"kind": "pyspark"})[2]["id"]
    owner("DELETE", f"/sessions/{deleted}")
    first.process.send_signal(signal.SIGINT)
    assert first.process.wait(timeout=60) == 0
    spark.client.close()  # At exit it would look for its server again and again.
    second = Up(tmp_path / "data", "--warm", "1")
    try:
        assert {row["owner"] for row in second.ask("sessions")} == {"again"}
        owner = Caller(second, "again")
        shown = lambda: owner("GET", "/sessions/kept")[2]  # noqa: E731
        assert [shown()[key] for key in ("id", "name", "owner")] == [made["id"], "kept", "again"]
        assert text(owner, 0) == "21"
        wait_until(lambda: shown()["state"] == "idle", 180, "the Livy session does not come back")
        owner("POST", f"{path}/statements", {"code": "x + 22"})
        assert wait_until(lambda: text(owner, 1), 60, "no output") == "42"
        assert owner("GET", f"/sessions/{deleted}")[0] == 404
        new = owner("POST", "/sessions", {"kind": "pyspark"})[2]["id"]
        assert new > deleted
        for number in (new, made["id"]):
            owner("DELETE", f"/sessions/{number}")
        spark = SparkSession.builder.remote(f"{second.url}/;user_id=again;session_id={session_id}").create()
        assert spark.table("v").count() == 5
        spark.stop()
    finally:
        second.stop()
