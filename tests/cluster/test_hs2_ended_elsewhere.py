"""Sessions over HiveServer2's protocol that are ended at another broker. Cases: spec of HiveServer2's Thrift protocol."""

import base64

import pytest
from berth_up import wait_until
from hive_probe import ERROR, SUCCESS, Probe
from kyuubi_client import Kyuubi


def address_of(broker, what):
    """Where it was bound the last time that it was started."""
    return [line for line in broker.said().splitlines() if line.strip().startswith(what)][-1]


def over_http(broker, user):
    address = address_of(broker, "HiveServer2").split("(")[1].split("//")[1].split("/")[0]
    login = base64.b64encode(f"{user}:x".encode()).decode()
    return Probe(address, "http", headers={"Authorization": f"Basic {login}"})


def binary(broker, user):
    return Probe(address_of(broker, "HiveServer2").split("jdbc:hive2://")[1].split()[0], user=user)


def kyuubi(broker, user):
    return Kyuubi(address_of(broker, "Kyuubi").split("//")[1].split("/")[0].strip(), user)


@pytest.fixture
def brokers(cluster):
    cluster.wait_warm()
    return cluster.brokers


def soon_unknown(ask, what):
    """True once a broker has heard of the end; a rare watch that is behind takes its time."""
    def unknown():
        status = ask().status
        return status.statusCode == ERROR and f"Invalid {what}" in status.errorMessage
    wait_until(unknown, 5, f"the {what} is still good")


def test_an_operation_does_not_outlive_its_session(brokers, user):
    """hs2#41: the session is closed at one broker, its rows are at the other one"""
    one, two = [over_http(broker, user) for broker in brokers[:2]]
    assert one.open(profile="default").status.statusCode == SUCCESS
    two.session = one.session
    operation = one.run("select id from range(10)")
    assert one.rows(operation, rows=3) == [[0], [1], [2]]
    assert two.close_session().statusCode == SUCCESS
    soon_unknown(lambda: one.fetch(operation), "OperationHandle")
    soon_unknown(lambda: one.info(17), "SessionHandle")


def test_sessions_of_one_broker_are_seen_and_ended_at_another(brokers, user):
    """kyuubi#63, #64: those of JDBC too, whichever broker a connection is at"""
    probes = [binary(brokers[0], user), over_http(brokers[0], user)]
    for probe in probes:
        assert probe.open(profile="default").status.statusCode == SUCCESS
        assert probe.value("select 1") == 1
    administrator = kyuubi(brokers[1], "root")
    listed = administrator.call("GET", f"admin/sessions?users={user}")
    assert len(listed) == 2
    for each in listed:
        administrator.ask("DELETE", f"admin/sessions/{each['identifier']}")
    for probe in probes:
        soon_unknown(lambda probe=probe: probe.info(17), "SessionHandle")
    assert administrator.call("GET", f"admin/sessions?users={user}") == []
