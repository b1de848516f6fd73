"""Sessions of HiveServer2's Thrift protocol whose driver is killed. Cases: spec of that protocol, section 10."""

import pytest
from applications import doubling_jar
from berth_up import wait_until
from hive_probe import ERROR, SUCCESS, Probe
from test_hs2_results import gated

RERUN = 'berth_statements_rerun_total{class="read",delivered="some"}'


@pytest.fixture
def probe(up, user):
    up.wait_warm()
    made = Probe(up.endpoints["hs2"], user=user)
    confs = {"set:hiveconf:spark.sql.shuffle.partitions": "7", "set:hivevar:x": "5"}
    assert made.open(conf=confs, profile="default").status.statusCode == SUCCESS
    yield made
    made.close_session()
    made.leave()


@pytest.fixture
def early(up, user):
    """A session whose statements are finished with their first rows."""
    up.wait_warm()
    made = Probe(up.endpoints["hs2"], user=user)
    opened = made.open(conf={"kyuubi.operation.incremental.collect": "true"}, profile="default")
    assert opened.status.statusCode == SUCCESS
    yield made
    made.close_session()
    made.leave()


def test_i2_the_state_of_a_session_is_back(up, user, probe):
    """hs2#66: confs, variables, USE, temporary views and functions, after an idle driver is killed"""
    probe.run(f"create database {user}")
    probe.run(f"use {user}")
    probe.run("set spark.sql.session.timeZone=Asia/Tokyo")
    probe.run("create temporary view v as select id, id * 2 as d from range(100)")
    probe.run("create temporary function twice(n int) returns int return n * 2")
    up.wait_warm()
    up.kill_driver(user)
    assert probe.value("select sum(d) from v") == 9900
    assert probe.value("select twice(${x})") == 10
    assert probe.value("select current_database()") == user
    assert probe.rows(probe.run("set spark.sql.shuffle.partitions"))[0][1] == "7"
    assert probe.value("select timestamp'2020-01-01 00:00:00Z'") == "2020-01-01 09:00:00"
    assert up.session(owner=user)["epoch"] == 2
    # Hive's own metastore drops it and says that it was not there.
    probe.execute(f"drop database {user}")


WITH_A_JAR = {
    "added": ("add jar {}", "create temporary function doubled as 'Doubling'"),
    "used": ("create temporary function doubled as 'Doubling' using jar '{}'",),
}


@pytest.mark.parametrize("form", WITH_A_JAR)
def test_i2_a_function_of_a_jar_is_back(up, user, probe, tmp_path, form):
    """hs2#66: a class that only a jar of the session has, after its driver is killed"""
    jar = doubling_jar(tmp_path)
    for statement in WITH_A_JAR[form]:
        probe.run(statement.format(jar))
    assert probe.value("select doubled(21L)") == 42
    up.wait_warm()
    up.kill_driver(user)
    assert probe.value("select sum(doubled(id)) from range(100)") == 9900
    assert any(jar.name in path for (path,) in probe.rows(probe.run("list jars")))
    assert up.session(owner=user)["epoch"] == 2


def test_i2_a_read_goes_on_where_it_was(up, user, early, connect, tmp_path):
    """hs2#65: the driver is killed between two fetches; no row is missing and none comes twice"""
    probe = early
    before = up.metric(RERUN)
    gate = gated(connect, user, probe, tmp_path)
    operation = probe.run("select gate(id) as id, repeat('x', 500) as pad from range(0, 20000, 1, 16)")
    seen = [row[0] for row in probe.rows(operation, rows=1000)]
    up.wait_warm()
    up.kill_driver(user)
    gate.open()
    while True:
        rows = probe.rows(operation, rows=1000)
        if not rows:
            break
        seen += [row[0] for row in rows]
    assert seen == list(range(20_000))
    assert up.metric(RERUN) == before + 1


def test_i3_a_write_is_not_run_twice(up, user, probe):
    """hs2#66: its outcome is told to be unknown, and the session goes on"""
    probe.run(f"create table {user}_t (n bigint) using parquet")
    statement = f"insert into {user}_t select sum(hash(id)) from range(0, 100000000000, 1, 64)"
    operation = probe.execute(statement, asynchronous=True).operationHandle
    wait_until(lambda: any("tasks" in line for (line,) in probe.rows(operation, kind=1)), 60, "it does not run")
    up.wait_warm()
    up.kill_driver(user)
    status = probe.wait(operation)
    assert status.operationState == 5 and status.sqlState == "40003", status
    assert "may or may not have taken effect" in status.errorMessage
    assert probe.value(f"select count(*) from {user}_t") == 0
    assert probe.execute("select * from nowhere").status.statusCode == ERROR
    probe.run(f"drop table {user}_t")


def test_i2_a_running_read_is_run_again(up, user, probe, connect, tmp_path):
    """hs2#66: before its first row; what it has delivered is its progress"""
    before = up.metric(RERUN)
    gate = gated(connect, user, probe, tmp_path)
    operation = probe.execute("select sum(gate(id)) as n from range(0, 1600, 1, 16)", asynchronous=True).operationHandle
    wait_until(lambda: any("tasks" in line for (line,) in probe.rows(operation, kind=1)), 60, "it does not run")
    up.wait_warm()
    up.kill_driver(user)
    gate.open()
    assert probe.wait(operation).operationState == 2
    assert probe.rows(operation) == [[1600 * 1599 // 2]]
    assert up.metric(RERUN) == before + 1
