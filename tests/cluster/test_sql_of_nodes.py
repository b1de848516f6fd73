"""Sessions of SQL clients whose node is lost. Cases: specs of HiveServer2's Thrift protocol and of Kyuubi's REST API."""

import pytest
from hive_probe import SUCCESS, Probe, basic
from kyuubi_client import Kyuubi
from test_hs2_replicas import binary_of, http_of
from test_kyuubi_replicas import address_of

CONFS = {"spark.sql.shuffle.partitions": "7"}
FORMS = ("binary", "http", "kyuubi")


def opened(broker, form, user):
    """A session in this form: what runs a statement there and answers its rows, and what closes it."""
    if form == "kyuubi":
        session = Kyuubi(address_of(broker), user).open(CONFS)
        return session.run, session.close
    http = form == "http"
    probe = Probe(http_of(broker), "http", headers=basic(user)) if http else Probe(binary_of(broker), user=user)
    assert probe.open(conf=CONFS, profile="default").status.statusCode == SUCCESS
    return lambda statement: probe.rows(probe.run(statement)), probe.close_session


@pytest.fixture(params=FORMS)
def run(cluster, user, request):
    cluster.wait_warm()
    run, close = opened(cluster.brokers[0], request.param, user)
    yield run
    close()


def test_i2_the_state_of_a_session_outlives_its_node(cluster, user, run):
    """hs2#66, kyuubi#73 with the power cut: confs, USE, temporary views and functions"""
    run(f"create database {user}")
    run(f"use {user}")
    run("set spark.sql.session.timeZone=Asia/Tokyo")
    run("create temporary view v as select id, id * 2 as d from range(100)")
    run("create temporary function twice(n int) returns int return n * 2")
    before = cluster.session(user)
    node = cluster.node(before["node"])
    node.cut()
    try:
        assert run("select sum(d) from v") == [[9900]]
        assert run("select twice(5)") == [[10]]
        assert run("select current_database()") == [[user]]
        assert run("set spark.sql.shuffle.partitions") == [["spark.sql.shuffle.partitions", "7"]]
        assert run("select timestamp'2020-01-01 00:00:00Z' || ''") == [["2020-01-01 09:00:00"]]
        now = cluster.session(user)
        assert now["node"] != before["node"] and now["epoch"] == before["epoch"] + 1
    finally:
        node.mend()
