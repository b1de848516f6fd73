"""JDBC clients that find brokers through ZooKeeper. Cases: spec of HiveServer2's Thrift protocol."""

import signal
import urllib.request

import pytest
from applications import spark_jars
from berth_up import wait_until
from hive_probe import SUCCESS, Probe
from test_hs2_replicas import address_of, binary_of
from zookeeper import TOGETHER, ZooKeeper, config_of, connect

OPENED = 'berth_requests_total{dialect="hs2",rpc="OpenSession",outcome="ok"}'


@pytest.fixture(scope="module")
def zookeeper(tmp_path_factory):
    made = ZooKeeper(tmp_path_factory.mktemp("zookeeper")).start()
    yield made
    made.end()


@pytest.fixture(scope="module")
def brokers(cluster, zookeeper):
    """Two brokers more, and a driver that stays while sessions come and go."""
    config = config_of(zookeeper, "pair", "hs2.drain-seconds = 120")
    brokers = [cluster.process(f"listed-{n}", "broker", config).start() for n in range(2)]
    for broker in brokers:
        broker.wait_for("is up")
    kept = Probe(binary_of(cluster.brokers[1]), user="kept")
    assert kept.open().status.statusCode == SUCCESS
    assert kept.value("select 1") == 1
    yield brokers
    kept.close_session()
    kept.leave()
    for broker in brokers:
        broker.end()


@pytest.fixture
def pair(zookeeper, brokers):
    """Both of them, listed; one that a test has ended runs again afterwards."""
    zookeeper.wait_listed("pair", 2)
    yield brokers
    for broker in brokers:
        if broker.process.poll() is not None:
            broker.start().wait_for("is up")


def opened(broker):
    """How many sessions a broker has opened."""
    admin = address_of(broker, "admin").split()[1]
    with urllib.request.urlopen(f"{admin}/metrics", timeout=10) as page:
        lines = page.read().decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(OPENED))


def test_connections_are_spread_and_go_past_a_dead_broker(zookeeper, pair):
    """hs2#59: before ZooKeeper has noticed, too, and back once it runs again"""
    url = zookeeper.url("pair", TOGETHER)
    before = [opened(broker) for broker in pair]
    connect(spark_jars(), url, 40)
    first, second = (opened(broker) for broker in pair)
    taken = [first - before[0], second - before[1]]
    # Less than one time in a million it is fewer.
    assert sum(taken) == 40 and min(taken) >= 5
    pair[0].kill()
    connect(spark_jars(), url, 8)
    assert opened(pair[1]) == second + 8
    zookeeper.wait_listed("pair", 1)
    pair[0].start().wait_for("is up")
    zookeeper.wait_listed("pair", 2)
    connect(spark_jars(), url, 20)
    assert opened(pair[0]) >= 1


def test_a_broker_that_drains_is_not_found_any_more(zookeeper, pair):
    """hs2#61: its sessions go on, and new ones begin elsewhere"""
    probe = Probe(binary_of(pair[0]), user="ann")
    assert probe.open().status.statusCode == SUCCESS
    assert probe.value("select 1") == 1
    pair[0].signal(signal.SIGTERM)
    zookeeper.wait_listed("pair", 1)
    before = opened(pair[1])
    connect(spark_jars(), zookeeper.url("pair", TOGETHER), 5)
    assert opened(pair[1]) == before + 5
    assert probe.value("select 2") == 2
    assert probe.close_session().statusCode == SUCCESS
    probe.leave()
    pair[0].process.wait(60)


def test_brokers_are_listed_again_when_zookeeper_forgot_them(zookeeper, pair):
    """It is away for longer than the sessions of its clients last; connections of JDBC clients do not need it."""
    probe = Probe(binary_of(pair[0]), user="ann")
    assert probe.open().status.statusCode == SUCCESS
    before = zookeeper.listed("pair")
    zookeeper.process.kill()
    assert probe.value("select 1") == 1
    wait_until(lambda: all("not listed in ZooKeeper" in broker.said() for broker in pair), 60, "nobody notices")
    zookeeper.start()
    wait_until(lambda: len(now := zookeeper.listed("pair")) == 2 and not set(now) & set(before), 60, "they are not back")
    connect(spark_jars(), zookeeper.url("pair", TOGETHER), 3)
    assert probe.value("select 2") == 2
    probe.close_session()
    probe.leave()


def test_clients_are_told_how_to_speak(cluster, zookeeper):
    """hs2#60: HTTP, at a port where nothing else is spoken, to a client that asked for neither; with a login of ZooKeeper"""
    (cluster.directory / "login").write_text("berth:secret\n")
    login = 'hs2.zookeeper.transport = "http"\nhs2.zookeeper.auth-file = "{directory}/login"'
    broker = cluster.process("listed-http", "broker", config_of(zookeeper, "over/http", login)).start()
    try:
        broker.wait_for("is up")
        zookeeper.wait_listed("over/http", 1)
        (name,) = zookeeper.listed("over/http")
        assert zookeeper.run("delete", f"/over/http/{name}") is None, "anybody may take a broker off the list"
        connect(spark_jars(), zookeeper.url("over/http", TOGETHER), 2)
        assert opened(broker) == 2
    finally:
        broker.end()
    assert zookeeper.listed("over/http") == []
