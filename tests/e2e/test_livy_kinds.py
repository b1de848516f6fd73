"""Code of every kind over Livy's REST API, and what a lost driver takes along. Cases: spec of Livy."""

import json

import pytest
from berth_up import wait_until
from livy_client import LivySession

TABLE = "application/vnd.livy.table.v1+json"


@pytest.fixture
def started(up):
    """Makes sessions that are ready; all are closed at the end."""
    made = []

    def start(**request):
        up.wait_warm()
        made.append(LivySession(up.endpoints["livy"], **request).wait_idle())
        return made[-1]

    yield start
    for session in made:
        session.close()


def kill(up, livy):
    """Kills the driver once another is warm."""
    up.wait_warm()
    up.kill_driver(dialect="livy", client_id=str(livy.id))


def history(up, livy):
    session = up.session(dialect="livy", client_id=str(livy.id))
    return " ".join(row["what"] for row in up.ask("explain", session["id"]) if row["kind"] == "history")


def shown(livy, statement):
    return livy.call("GET", f"/{livy.id}/statements/{statement}")


def test_scala_is_there_and_comes_back_with_its_state(up, started, tmp_path):
    """livy#56, #63, #64, #65, #80, #82"""
    livy = started(kind="scala")
    assert livy.call("GET", f"/{livy.id}")["kind"] == "spark"
    assert livy.output(livy.submit("1+1")) == {
        "status": "ok", "execution_count": 0, "data": {"text/plain": "res0: Int = 2\n"}}
    assert livy.run('val str = "a"') == "str: String = a\n"
    asked = lambda code: livy.call("POST", f"/{livy.id}/completion", {  # noqa: E731
        "code": code, "kind": "spark", "cursor": len(code)})["candidates"]
    assert any("compare" in each for each in asked("str."))
    assert asked("nothere.") == []
    assert livy.output(livy.submit("spark"))["status"] == "ok"
    assert livy.run("val x = 20\ndef twice(n: Int) = 2 * n") == "x: Int = 20\ndef twice(n: Int): Int\n"
    livy.run('case class Part(n: Int)\nSeq(Part(1), Part(2)).toDS.createOrReplaceTempView("parts")')
    # What reaches outside is not done twice.
    target = tmp_path / "written"
    livy.run(f'val w = new java.io.FileWriter("{target}", true)\nw.write("once")\nw.close()')
    kill(up, livy)
    assert livy.run("twice(x) + 2").endswith("Int = 42\n")
    assert livy.run("select sum(n) from parts", kind="sql")["data"]["application/json"]["data"] == [[3]]
    assert target.read_text() == "once"
    assert "outside effects" in history(up, livy)
    output = livy.output(livy.submit("nothere"))
    assert (output["status"], output["ename"], output["evalue"]) == (
        "error", "Error", "<console>:1: error: not found: value nothere")
    assert livy.state() == "idle"


def test_running_scala_is_cancelled_and_says_how_far_it_is(started):
    """livy#69, #74"""
    livy = started(kind="spark")
    loop = livy.submit("while (true) {}")
    wait_until(lambda: shown(livy, loop)["state"] == "running", 120, "not running")
    livy.call("POST", f"/{livy.id}/statements/{loop}/cancel")
    assert wait_until(lambda: livy.ended(loop), 60, "not cancelled")["state"] == "cancelled"
    # The last task waits for ever: progress stays between.
    job = livy.submit("sc.parallelize(1 to 4, 4).foreach(n => if (n == 4) Thread.sleep(3600000))")
    progress = wait_until(lambda: shown(livy, job)["progress"], 120, "no progress")
    assert 0 < progress < 1, shown(livy, job)
    livy.call("POST", f"/{livy.id}/statements/{job}/cancel")
    ended = wait_until(lambda: livy.ended(job), 60, "not cancelled")
    assert (ended["state"], ended["progress"]) == ("cancelled", 1)
    assert livy.run("6 * 7").endswith("Int = 42\n")


def test_statements_of_a_shared_session_say_their_kind(started):
    """livy#57, #58, #59, #60, #62, #65, #77, #78, #79, #80, #82"""
    livy = started(kind="shared", conf={"livy.rsc.sql.num-rows": "1500"})
    for kind in ("pyspark", "spark"):  # What sparkmagic asks first.
        assert "SparkSession" in livy.run("spark", kind=kind)
    assert livy.run("x = 1", kind="pyspark") == ""
    assert livy.run("print(x)\r\nprint(x)", kind="python") == "1\n1"
    assert livy.output(livy.submit("nothere", kind="pyspark"))["traceback"] == [
        "Traceback (most recent call last):\n", "NameError: name 'nothere' is not defined\n"]
    livy.run("spark.range(2).createOrReplaceTempView('two')", kind="pyspark")
    data = livy.run("select * from two order by id", kind="sql")["data"]["application/json"]
    assert data["schema"]["fields"] == [{"name": "id", "type": "long", "nullable": False, "metadata": {}}]
    assert data["data"] == [[0], [1]]
    many = livy.run("select * from range(2000)", kind="sql")["data"]["application/json"]["data"]
    assert (len(many), many[-1]) == (1500, [1499])
    bundle = livy.run("import matplotlib.pyplot as plt\nplt.plot([1])\n%matplot plt", kind="pyspark")["data"]
    assert list(bundle) == ["image/png"]
    # None goes with every type in Python; a name of a column is its place, or Scala's own.
    mixed = livy.run("rows = [[1, None, 2.5], [None, 'a', None]]\n%table rows", kind="pyspark")["data"]
    assert mixed == {TABLE: {
        "headers": [{"name": "0", "type": "INT_TYPE"}, {"name": "1", "type": "STRING_TYPE"},
                    {"name": "2", "type": "DOUBLE_TYPE"}],
        "data": [[1, None, 2.5], [None, "a", None]]}}
    tuples = livy.run('val rows = List((1, "a"), (2, "b"))\n%table rows', kind="spark")["data"]
    assert tuples == {TABLE: {
        "headers": [{"name": "_1", "type": "BIGINT_TYPE"}, {"name": "_2", "type": "STRING_TYPE"}],
        "data": [[1, "a"], [2, "b"]]}}
    assert livy.run("d = {'a': [1, None]}\n%json d", kind="pyspark")["data"] == {"application/json": {"a": [1, None]}}
    for kind, code, ename, evalue in (
            ("pyspark", "%foo x", "UnknownMagic", "unknown magic command 'foo'"),
            ("pyspark", "%", "UnknownMagic", "magic command not specified"),
            ("spark", "%foo x", "UnknownMagic", "Unknown magic command foo"),
            ("r", "1+2", "InterpreterError", None)):
        output = livy.output(livy.submit(code, kind=kind))
        assert (output["status"], output["ename"]) == ("error", ename), output
        assert evalue is None or output["evalue"] == evalue
    completed = lambda code: livy.call("POST", f"/{livy.id}/completion", {  # noqa: E731
        "code": code, "kind": "pyspark", "cursor": len(code)})["candidates"]
    assert any("upper" in each for each in completed("str.upp"))
    assert completed("nothere.") == []


def test_code_that_ends_its_driver_ends_its_statement_only(up, started):
    """livy#46: where Livy's session is dead, Berth's goes on with what it had"""
    livy = started(kind="shared")
    livy.run("x = 42", kind="pyspark")
    output = livy.output(livy.submit("import sys\nsys.exit(3)", kind="pyspark"))
    assert (output["status"], output["ename"]) == ("error", "SystemExit")
    for code, kind in (("import os\nos._exit(3)", "pyspark"), ("System.exit(3)", "spark")):
        up.wait_warm()
        output = livy.output(livy.submit(code, kind=kind))
        assert (output["status"], output["ename"]) == ("error", "OutcomeUnknown"), output
        assert livy.run("x", kind="pyspark") == "42"
    assert livy.state() == "idle"
    assert [each["output"]["status"] for each in livy.call("GET", f"/{livy.id}/statements")["statements"]] == [
        "ok", "error", "error", "ok", "error", "ok"]


def test_code_that_stops_spark_costs_its_driver_and_not_its_session(up, started):
    """livy#46: it is not run again, since it would stop every driver that did"""
    livy = started(kind="shared")
    livy.run("x = 42", kind="pyspark")
    for kind in ("pyspark", "spark"):
        up.wait_warm()
        assert livy.run("spark.stop()", kind=kind).strip() == ""
        assert livy.run("x, spark.range(x).count()", kind="pyspark") == "(42, 42)"
    assert up.session(client_id=str(livy.id), dialect="livy")["epoch"] == 3


def test_i8_code_that_ends_its_driver_later_on_is_not_run_again_for_ever(up, started):
    """livy#46: what it does comes after it has ended well, so that nothing keeps it from running again but a limit"""
    livy = started(kind="pyspark")
    livy.run("import os, threading\nx = 42\nthreading.Timer(2, os._exit, [3]).start()")
    seen = lambda: "ended soon after it ran again" in history(up, livy)  # noqa: E731
    wait_until(seen, 240, "the session comes and goes for ever")
    assert up.session(client_id=str(livy.id), dialect="livy")["epoch"] == 4
    assert livy.run("1 + 1") == "2"
    assert livy.output(livy.submit("x"))["ename"] == "NameError"
    livy.run("y = 7")
    kill(up, livy)
    assert livy.run("y") == "7"


def test_i2_variables_of_statements_that_do_not_run_again_are_restored(up, started, tmp_path):
    """What wrote a file is not run again; what it made of variables is back, and what is not is said."""
    livy = started(kind="pyspark")
    target = tmp_path / "written"
    livy.run("rows = []\nclass Point:\n    def __init__(self, n):\n        self.n = n")
    livy.run(f"with open({str(target)!r}, 'a') as out:\n    out.write('once')\n"
             "rows.append(1)\np = Point(rows)\nframe = spark.range(3)")
    livy.run(f"half = 2\nopen({str(target)!r}).close()\nopen({str(tmp_path / 'other')!r}, 'w').close()\n1/0")
    kill(up, livy)
    assert livy.run("rows, p.n is rows, isinstance(p, Point), half") == "([1], True, True, 2)"
    assert target.read_text() == "once"
    said = history(up, livy)
    assert "restored are Point, p, rows" in said or "restored are p, rows" in said, said
    assert "not restored are frame" in said, said


@pytest.mark.parametrize("policy", ["fresh", "none"])
def test_a_session_may_want_another_recovery(up, started, policy):
    livy = started(kind="pyspark", conf={"berth.recovery": policy})
    assert livy.run("x = 1\nx") == "1"
    kill(up, livy)
    if policy == "none":
        wait_until(lambda: livy.state() == "dead", 60, "the session is not dead")
        assert any("berth.recovery" in line for line in livy.call("GET", f"/{livy.id}/log")["log"])
        return
    assert livy.output(livy.submit("x"))["ename"] == "NameError"
    assert livy.call("GET", f"/{livy.id}/statements/0")["output"]["data"] == {"text/plain": "1"}
    assert "berth.recovery = fresh" in history(up, livy)


def test_code_comes_back_as_it_was_sent(started):
    """livy#81: with escapes its body is several times as long."""
    livy = started(kind="pyspark")
    head = "# \u00e4 \U0001f600 \" ' \\ \t\n"
    code = head + "#" + "\u00e4" * ((1 << 19) - len(head.encode())) + "\n'\u00e4'"
    assert len(code.encode()) <= 1 << 20 < len(json.dumps(code))
    statement = livy.submit(code)
    assert livy.output(statement)["data"]["text/plain"] == "'\u00e4'"
    assert shown(livy, statement)["code"] == code


def test_an_unknown_policy_is_refused(up):
    import urllib.error

    with pytest.raises(urllib.error.HTTPError) as refused:
        LivySession(up.endpoints["livy"], conf={"berth.recovery": "perhaps"})
    assert refused.value.code == 400
