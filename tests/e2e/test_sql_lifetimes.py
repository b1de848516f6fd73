"""How long statements and sessions of SQL clients last that say so in their confs."""

import time

import pytest
from berth_up import wait_until
from hive_probe import ERROR, SUCCESS, Probe
from kyuubi_client import Kyuubi

TIMEDOUT = 8
SLOW = "select count(*) as n from range(1000000000000) where hash(id) = 7"
# Longer than the sessions' idle time below, in one task.
BUSY = "select count(*) as n from range(0, 400000000, 1, 1) where hash(id) = 7 and hash(id + 1) = 8"


# A limit counts the wait for a driver, too.
pytestmark = pytest.mark.usefixtures("together")


@pytest.fixture
def probe_of(up, user):
    made = []

    def probe_of(confs):
        made.append(Probe(up.endpoints["hs2"], user=user))
        assert made[-1].open(10, conf=confs).status.statusCode == SUCCESS
        return made[-1]

    yield probe_of
    for each in made:
        each.close_session()
        each.leave()


@pytest.fixture
def open_kyuubi(up, user):
    made = []

    def open_kyuubi(confs):
        made.append(Kyuubi(up.endpoints["kyuubi"], user).open(
            {"berth.profile": "together", **confs}, protocolVersion="9"))
        return made[-1]

    yield open_kyuubi
    for session in made:
        session.client.ask("DELETE", f"sessions/{session.handle}")


def test_statements_are_stopped_by_the_limit_of_their_session(probe_of, open_kyuubi):
    """`kyuubi.operation.query.timeout`: nothing of them holds the session's cores afterwards"""
    limit = {"kyuubi.operation.query.timeout": "PT8S"}
    session = open_kyuubi(limit)
    assert session.settled(session.begin(SLOW))["state"] == "TIMEDOUT_STATE"
    assert session.run("select 1") == [[1]]
    probe = probe_of(limit)
    operation = probe.execute(SLOW, asynchronous=True).operationHandle
    assert probe.wait(operation).operationState == TIMEDOUT
    assert probe.value("select 1") == 1


IDLE = {"kyuubi.session.idle.timeout": "PT5S"}


def test_a_session_of_kyuubi_s_api_ends_that_nobody_uses(up, user, open_kyuubi):
    """`kyuubi.session.idle.timeout`: not while a statement runs, and nobody else's"""
    kept, session = open_kyuubi({}), open_kyuubi(IDLE)
    assert session.run(BUSY) == [[0]]
    operation = session.begin("select 1")
    # Asked of the broker, since a question to the session is a use of it.
    wait_until(lambda: open_sessions(up, user) == {kept.handle}, 60, "an idle session stays")
    for path in (f"sessions/{session.handle}", f"operations/{operation}/event"):
        assert session.client.refused("GET", path)[0] == 404
    assert kept.run("select 2") == [[2]]


def test_a_session_of_hiveserver2_ends_that_nobody_uses(up, user, probe_of):
    """`kyuubi.session.idle.timeout`, although its connection is open; a call that takes longer is a use to its end"""
    probe = probe_of(IDLE)
    probe.run(BUSY)
    answered = time.monotonic()
    wait_until(lambda: not open_sessions(up, user), 60, "an idle session stays")
    assert time.monotonic() - answered >= 5
    answer = probe.execute("select 1")
    assert answer.status.statusCode == ERROR and "Invalid SessionHandle" in answer.status.errorMessage


def open_sessions(up, user):
    return {row["client_id"] for row in up.ask("sessions") if row["owner"] == user and row["state"] != "closed"}
