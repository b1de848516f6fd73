"""pylivy (`livy` on PyPI), unmodified, with its driver killed while it polls."""

from concurrent.futures import ThreadPoolExecutor

import pandas
import pytest
from berth_up import wait_until
from livy import LivyBatch, LivySession, SessionKind, SessionState, SparkRuntimeError
from livy.client import LivyClient


@pytest.fixture
def url(up):
    up.wait_warm()
    return f"http://{up.endpoints['livy']}"


def kill(up, session):
    up.wait_warm()
    up.kill_driver(dialect="livy", client_id=str(session.session_id))


def test_pylivy_knows_the_version(url):
    """livy#35"""
    client = LivyClient(url)
    assert not client.legacy_server()
    client.close()


def test_pylivy_runs_and_moves_frames(up, url):
    """livy#121: both ways, before and after a kill"""
    frame = pandas.DataFrame({"k": ["a", "b", "a"], "n": [1, 2, 3]})
    with LivySession.create(url, kind=SessionKind.PYSPARK, name="pylivy", echo=False) as session:
        session.upload("sent", frame)
        session.run("sums = sent.groupBy('k').sum('n').withColumnRenamed('sum(n)', 's').orderBy('k')")
        kill(up, session)
        assert session.download("sums").to_dict("list") == {"k": ["a", "b"], "s": [4, 2]}
        assert session.run("sent.count()").text == "3"
        with pytest.raises(SparkRuntimeError, match="ZeroDivisionError"):
            session.run("1 / 0")
        assert session.session_id in [each.session_id for each in session.client.list_sessions()]


def test_pylivy_downloads_sql(up, url):
    """livy#121: a session of kind sql; its view is there after the kill"""
    with LivySession.create(url, kind=SessionKind.SQL) as session:
        session.download_sql("create temp view v as select id, id * 0.5D as half from range(3)")
        kill(up, session)
        found = session.download_sql("select * from v order by id")
        assert found.to_dict("list") == {"id": [0, 1, 2], "half": [0.0, 0.5, 1.0]}


def test_pylivy_names_the_kind_of_each_statement(url):
    """livy#65, #121"""
    with LivySession.create(url, kind=SessionKind.SHARED) as session:
        made = session.client.create_statement(
            session.session_id, "spark.range(5).createOrReplaceTempView('v')", SessionKind.PYSPARK)
        asked = session.client.create_statement(
            session.session_id, "select count(*) as n from v", SessionKind.SQL)
        ended = wait_until(lambda: output(session, asked), 60, "the statement does not end")
        assert output(session, made).status.value == "ok"
        assert ended.json["data"] == [[5]]


def output(session, statement):
    return session.client.get_statement(session.session_id, statement.statement_id).output


def test_i3_pylivy_is_told_of_a_driver_that_is_killed_while_it_polls(up, url, tmp_path):
    """livy#121: the statement ends, and the session goes on with what it had"""
    began = tmp_path / "began"
    with LivySession.create(url, kind=SessionKind.PYSPARK) as session, ThreadPoolExecutor(1) as pool:
        session.run("x = 20")
        polls = pool.submit(session.run, f"import time; open({str(began)!r}, 'w').close(); time.sleep(600)")
        wait_until(began.exists, 60, "the statement does not run")
        kill(up, session)
        with pytest.raises(SparkRuntimeError, match="OutcomeUnknown"):
            polls.result(timeout=120)
        assert session.run("x + 22").text == "42"
        assert session.state == SessionState.IDLE


def test_pylivy_runs_a_batch_to_its_end(url, local_jobs):
    """livy#93, #121: with its log, and one that fails"""
    application = local_jobs / "counted.py"
    application.write_text(
        "import sys\nfrom pyspark.sql import SparkSession\n"
        "print('counted', SparkSession.builder.getOrCreate().range(int(sys.argv[1])).count())\n")
    batch = LivyBatch.create(url, file=str(application), args=["21"], name="pylivy batch")
    assert batch.wait() == SessionState.SUCCESS
    assert "counted 21" in batch.log()
    batch.kill()
    failing = LivyBatch.create(url, file=str(application), args=["none"])
    assert failing.wait() == SessionState.DEAD
    assert any("ValueError" in line for line in failing.log())
    failing.kill()
