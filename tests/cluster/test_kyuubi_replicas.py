"""Any broker serves any call of Kyuubi's REST API. Cases: spec of Kyuubi's REST API."""

import urllib.error

import pytest
from berth_up import wait_until
from kyuubi_client import Kyuubi


def address_of(broker):
    """Where it was bound the last time that it was started."""
    lines = [line for line in broker.said().splitlines() if line.strip().startswith("Kyuubi")]
    return lines[-1].split("//")[1].strip()


@pytest.fixture
def both(cluster, user):
    """One user's client at each of the two brokers; those that a test has killed run again afterwards."""
    cluster.wait_warm()
    yield [Kyuubi(address_of(broker), user) for broker in cluster.brokers]
    for broker in cluster.brokers:
        if broker.process.poll() is not None:
            broker.start().wait_for("is up")


def test_i4_calls_of_one_session_go_to_either_broker(both):
    """kyuubi#61, kyuubi#72"""
    one, two = both
    session = one.open({"spark.sql.shuffle.partitions": "3"})
    there = session.at(two)
    session.run("create temporary view v as select id from range(250)")
    assert there.run("select count(*) from v") == [[250]]
    assert there.shown()["conf"]["spark.sql.shuffle.partitions"] == "3"
    operation = session.begin("select id from v order by id")
    assert there.settled(operation)["state"] == "FINISHED_STATE"
    assert there.columns(operation)[0]["columnName"] == "id"
    # One place in the result, whichever broker is asked.
    pages = [at.page(operation, 100) for at in (session, there, session, there)]
    assert [len(page) for page in pages] == [100, 100, 50, 0]
    assert [row[0]["value"] for page in pages for row in page] == list(range(250))
    assert two.call("GET", f"operations/{operation}/log")["rowCount"] > 0
    stranger = Kyuubi(two.base.removeprefix("http://"), "somebody")
    assert stranger.refused("GET", f"operations/{operation}/rowset")[0] == 404
    assert two.ask("PUT", f"operations/{operation}", {"action": "close"})[0] == 200
    assert one.refused("GET", f"operations/{operation}/event")[0] == 404
    there.close()
    assert one.refused("GET", f"sessions/{session.handle}")[0] == 404
    assert one.call("GET", "sessions") == two.call("GET", "sessions") == []


def test_i2_a_session_goes_on_when_its_broker_is_killed(cluster, both):
    """kyuubi#69, #71, #72: its clients find the first of their two addresses dead, and go on at the second"""
    one, two = both
    session = one.open()

    def servers():
        return {server["nodeName"] for server in two.call("GET", "admin/server")}
    wait_until(lambda: len(servers()) == 2, 30, "not both brokers are servers")
    both_servers = servers()
    session.run("create temporary view v as select id from range(7)")
    operation = session.begin("select id from v", runAsync=False)
    cluster.brokers[0].kill()
    with pytest.raises(urllib.error.URLError):
        one.call("GET", "version")
    there = session.at(two)
    assert there.run("select count(*) from v") == [[7]]
    # Its operations are gone, and the client is told so.
    def gone():
        status, message = two.refused("GET", f"operations/{operation}/event")
        assert status in (404, 503), message
        return status == 404 and "run the statement again" in message
    wait_until(gone, 30, "the operation of a broker that has gone is not told as such")
    assert len(servers()) == 1 and servers() < both_servers
    there.close()
