"""Unmodified clients of HiveServer2: PyHive with SQLAlchemy, impyla, and beeline from PySpark's own jars."""

import contextlib
from pathlib import Path

import beeline
import pyspark
import pytest
import sqlalchemy
from berth_up import wait_until
from impala import dbapi as impala
from pyhive import exc, hive

pytestmark = pytest.mark.usefixtures("together")
JARS = f"{Path(pyspark.__file__).parent}/jars/*"


@pytest.fixture
def port(up):
    return int(up.endpoints["hs2"].rsplit(":", 1)[1])


@pytest.fixture
def cursor(port, user):
    connection = hive.connect("127.0.0.1", port, username=user, configuration={"berth.profile": "together"})
    yield connection.cursor()
    connection.close()


def test_pyhive(cursor):
    """hs2#57: results, descriptions, unicode, errors"""
    cursor.execute("select 1 as a, '\u00fc' as b, cast(1.5 as decimal(5,2)) as c, array(1) as d")
    assert [(name, kind) for name, kind, *_ in cursor.description] == [
        ("a", "INT_TYPE"), ("b", "STRING_TYPE"), ("c", "DECIMAL_TYPE"), ("d", "ARRAY_TYPE")]
    (row,) = cursor.fetchall()
    assert row[:2] == (1, "\u00fc") and str(row[2]) == "1.50" and row[3] == "[1]"
    cursor.execute("select id from range(2500)")
    assert len(cursor.fetchmany(10)) == 10 and len(cursor.fetchall()) == 2490
    with pytest.raises(exc.OperationalError, match="TABLE_OR_VIEW_NOT_FOUND"):
        cursor.execute("select * from nowhere")
    cursor.execute("select %(x)s", {"x": "it's"})
    assert cursor.fetchall() == [("it's",)]


def test_pyhive_waits_reads_logs_and_cancels(cursor):
    """hs2#57: asynchronous, with the call that the service does not have"""
    cursor.execute("select sum(id) from range(0, 50000000, 1, 8)", async_=True)
    lines = []

    def is_over():
        lines.extend(cursor.fetch_logs())
        return cursor.poll().operationState == 2

    wait_until(is_over, 60, "it does not end")
    assert cursor.fetchall() == [(1249999975000000,)] and any("RUNNING" in line for line in lines)
    cursor.execute("select count(*) from range(1000000000000) where hash(id) = 7", async_=True)
    cursor.cancel()
    assert cursor.poll().operationState == 3


@pytest.fixture
def lonely(up, port, user):
    """A cursor of a session that has a driver for itself."""
    up.wait_warm()
    connection = hive.connect("127.0.0.1", port, username=user, configuration={"berth.profile": "default"})
    yield connection.cursor()
    connection.close()


def test_i2_a_cursor_of_pyhive_goes_on_after_its_driver_was_killed(up, user, lonely):
    """hs2#57, hs2#66: with SET, USE and a temporary view"""
    def rows(statement):
        lonely.execute(statement)
        return lonely.fetchall()

    for statement in (f"create database {user}", f"use {user}", "set spark.sql.shuffle.partitions=7",
                      "create temporary view v as select id from range(2500)"):
        lonely.execute(statement)
    assert len(rows("select id from v")) == 2500
    up.wait_warm()
    up.kill_driver(user)
    assert rows("select id from v order by id") == [(number,) for number in range(2500)]
    assert rows("set spark.sql.shuffle.partitions") == [("spark.sql.shuffle.partitions", "7")]
    assert rows("select current_database()") == [(user,)]
    with pytest.raises(exc.OperationalError, match="TABLE_OR_VIEW_NOT_FOUND"):
        rows("select * from nowhere")
    assert up.session(owner=user)["epoch"] == 2
    # Hive's own metastore drops it and says that it was not there.
    with contextlib.suppress(exc.OperationalError):
        lonely.execute(f"drop database {user}")


def test_sqlalchemy(port, user):
    """hs2#57: reflection"""
    engine = sqlalchemy.create_engine(f"hive://{user}@127.0.0.1:{port}/default")
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text(f"create table {user}_t (a int, b string) using parquet"))
        columns = sqlalchemy.inspect(connection).get_columns(f"{user}_t")
        assert [column["name"] for column in columns] == ["a", "b"]
        # Its list of tables takes the first column of SHOW TABLES, which with Spark is the database.
        assert sqlalchemy.inspect(connection).has_table(f"{user}_t")
        assert "default" in sqlalchemy.inspect(connection).get_schema_names()
        connection.execute(sqlalchemy.text(f"drop table {user}_t"))
    engine.dispose()


def test_impyla(port, user):
    """hs2#58: its cursors are sessions; it asks for calls of Impala's first"""
    connection = impala.connect("127.0.0.1", port, auth_mechanism="PLAIN", user=user, password="x")
    for _ in range(3):
        cursor = connection.cursor(configuration={"berth.profile": "together"})
        cursor.execute("select cast(1.5 as decimal(5,2)) as a, date'2020-02-29' as b, timestamp'2020-01-01 00:00:00.5' as c")
        ((number, day, moment),) = cursor.fetchall()
        assert (str(number), str(day), str(moment)) == ("1.50", "2020-02-29", "2020-01-01 00:00:00.500000")
        cursor.close()
    cursor = connection.cursor(configuration={"berth.profile": "together"})
    cursor.execute_async("select id from range(20000)")
    wait_until(lambda: not cursor.is_executing(), 60, "it does not end")
    assert [number for number, in cursor.fetchall()] == list(range(20_000))
    cursor.close()
    cursor = connection.cursor(dictify=True, configuration={"berth.profile": "together"})
    cursor.execute("select id, 'x' as t from range(2)")
    assert cursor.fetchall() == [{"id": 0, "t": "x"}, {"id": 1, "t": "x"}]
    cursor.close()
    connection.close()


def calls(up, rpc):
    """How many calls of a kind went well."""
    return up.metric(f'berth_requests_total{{dialect="hs2",rpc="{rpc}",outcome="ok"}}')


def test_impyla_leaves_nothing(up, port, user):
    """hs2#58: cursors that are opened and closed a hundred times"""
    connections = 'berth_connections{listener="hs2"}'
    before, opened = up.metric(connections), calls(up, "OpenSession")
    connection = impala.connect("127.0.0.1", port, auth_mechanism="PLAIN", user=user, password="x")
    for _ in range(100):
        connection.cursor(configuration={"berth.profile": "together"}).close()
    assert calls(up, "OpenSession") >= opened + 100
    assert not [session for session in up.ask("sessions") if session["owner"] == user]
    connection.close()
    wait_until(lambda: up.metric(connections) <= before, 30, "a connection stays")


@pytest.mark.parametrize("form", ["hs2 {}", "hs2-http {};transportMode=http;httpPath=cliservice", "hs2 {};auth=noSasl"])
def test_beeline(up, form):
    """hs2#54: binary, over HTTP and without SASL: the banner, scripts, metadata, an error"""
    door, rest = form.split(" ", 1)
    url = f"jdbc:hive2://{up.endpoints[door]}/" + rest.format("default") + "?berth.profile=together#five=5"
    script = "create temporary view w as select 1 as a, 'b;c' as t; select * from w; select ${five} + 1 as six"
    out, err = beeline.run(JARS, url, "bob", script, "!columns w", "!tables", "select nonsense from w")
    assert "Connected to: Spark SQL (version 4.3.0)" in err and "Exception in" not in err
    for text in ("| 1  | b;c  |", "| 6    |", "ORDINAL_POSITION", "TABLE_SCHEM"):
        assert text in out, (text, out, err)
    assert "UNRESOLVED_COLUMN" in err and "IndexOutOfBounds" not in err


def test_beeline_is_interrupted_and_quits(up, user, tmp_path):
    """hs2#54: Ctrl-C cancels the statement and nothing else; `!quit` closes the session"""
    url = f"jdbc:hive2://{up.endpoints['hs2']}/default?berth.profile=together"
    opened = calls(up, "OpenSession")
    beeline.interrupted(JARS, url, user, tmp_path / "said")
    assert calls(up, "OpenSession") > opened
    wait_until(lambda: not [session for session in up.ask("sessions") if session["owner"] == user], 30, "its session stays")
