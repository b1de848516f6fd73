"""Code sessions over Livy's REST API. Cases: spec of Livy."""

import urllib.error

import pytest
from berth_up import wait_until
from livy_client import LivySession


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


def test_a_statement_is_cancelled_and_the_session_goes_on(livy):
    statement = livy.submit("import time; time.sleep(600)")
    wait_until(lambda: livy.call("GET", f"/{livy.id}/statements/{statement}")["state"] == "running", 60, "not running")
    livy.call("POST", f"/{livy.id}/statements/{statement}/cancel")
    assert wait_until(lambda: livy.ended(statement), 60, "not cancelled")["state"] == "cancelled"
    assert livy.run("1 + 1") == "2"


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


def test_i7_confs_that_reach_the_node_are_refused(up):
    with pytest.raises(urllib.error.HTTPError) as refused:
        LivySession(up.endpoints["livy"], conf={"spark.driver.extraJavaOptions": "-Dx=y"})
    assert refused.value.code == 400
    assert b"spark.driver.extraJavaOptions" in refused.value.read()


def test_i2_a_second_start_knows_its_sessions(tmp_path):
    """`berth up` ended with Ctrl-C and started again on the same data directory."""
    import signal

    from berth_up import Up
    from pyspark.sql import SparkSession

    first = Up(tmp_path / "data", "--warm", "1")
    first.wait_warm()
    spark = SparkSession.builder.remote(f"{first.url}/;user_id=again").create()
    spark.range(5).createOrReplaceTempView("v")
    session_id = spark.session_id
    first.process.send_signal(signal.SIGINT)
    assert first.process.wait(timeout=60) == 0
    spark.client.close()  # At exit it would look for its server again and again.
    second = Up(tmp_path / "data", "--warm", "1")
    try:
        assert [row["owner"] for row in second.ask("sessions")] == ["again"]
        spark = SparkSession.builder.remote(f"{second.url}/;user_id=again;session_id={session_id}").create()
        assert spark.table("v").count() == 5
        spark.stop()
    finally:
        second.stop()
