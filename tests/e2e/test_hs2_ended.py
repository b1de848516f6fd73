"""Sessions over HiveServer2's protocol that somebody else ends. Cases: spec of HiveServer2's Thrift protocol."""

import base64
import uuid

import pytest
from hive_probe import ERROR, SUCCESS, Probe, ttypes
from kyuubi_client import Kyuubi

pytestmark = pytest.mark.usefixtures("together")
PLAN_ONLY = {"kyuubi.operation.plan.only.mode": "optimize"}


@pytest.fixture
def administrator(up):
    return Kyuubi(up.endpoints["kyuubi"], "root")


@pytest.fixture
def binary(up, user):
    probe = Probe(up.endpoints["hs2"], user=user)
    yield probe
    probe.leave()


@pytest.fixture
def over_http(up, user):
    login = base64.b64encode(f"{user}:x".encode()).decode()
    probe = Probe(up.endpoints["hs2-http"], transport="http", headers={"Authorization": f"Basic {login}"})
    yield probe
    if probe.session is not None:
        probe.close_session()


def opened(probe, **how):
    response = probe.open(**how)
    assert response.status.statusCode == SUCCESS, response.status.errorMessage
    return probe


def assert_unknown(status, what="SessionHandle"):
    assert status.statusCode == ERROR and f"Invalid {what}" in status.errorMessage, status


def test_a_session_that_was_ended_with_its_engine_is_unknown(binary, administrator, user):
    """hs2#41: every call says so, whether it needs the driver or not, and the connection can open another one"""
    opened(binary)
    assert binary.value("select 1") == 1
    killed = administrator.ask("DELETE", f"admin/engine?kill=true&proxyUser={user}")
    assert killed[0] == 200 and killed[2], killed
    assert_unknown(binary.info(17).status)
    assert_unknown(binary.execute("select 1").status)
    assert_unknown(binary.info(17).status)
    assert_unknown(binary.close_session())
    assert opened(binary).value("select 2") == 2


def test_what_runs_in_a_session_that_is_ended_is_told(up, binary, user):
    """hs2#41: its client hears what became of it before the session is forgotten"""
    opened(binary)
    running = binary.execute("select count(*) from range(1000000000000) where hash(id) = 7", asynchronous=True)
    binary.status(running.operationHandle)
    up.run("close", up.session(owner=user)["id"])
    status = binary.wait(running.operationHandle)
    assert status.status.statusCode == SUCCESS and status.operationState == 5, status
    assert_unknown(binary.info(17).status)
    assert_unknown(binary.status(running.operationHandle).status, "OperationHandle")


def test_an_operation_goes_with_its_session(up, over_http, user):
    """hs2#41: over HTTP the session may be closed at another broker, and its rows go"""
    operation = opened(over_http).run("select id from range(10)")
    assert over_http.rows(operation, rows=3) == [[0], [1], [2]]
    up.run("close", up.session(owner=user)["id"])
    assert_unknown(over_http.fetch(operation).status, "OperationHandle")
    assert_unknown(over_http.status(operation).status, "OperationHandle")
    assert_unknown(over_http.info(17).status)


def handle_of(probe):
    return str(uuid.UUID(bytes=probe.session.sessionId.guid))


def test_calls_of_other_dialects_leave_a_session_alone(up, binary, over_http, user):
    """kyuubi#46: its handle is none of Kyuubi's REST API, whoever asks, and the other way round"""
    of_kyuubi = Kyuubi(up.endpoints["kyuubi"], user).open({"berth.profile": "together"})
    for probe in (binary, over_http):
        operation = opened(probe).run("select id from range(10)")
        assert Kyuubi(up.endpoints["kyuubi"], "mallory").refused("GET", f"sessions/{handle_of(probe)}")[0] == 404
        assert probe.rows(operation, rows=1) == [[0]]
    operation = of_kyuubi.begin("select 1")
    assert of_kyuubi.settled(operation)["state"] == "FINISHED_STATE"
    own, over_http.session = over_http.session, ttypes.TSessionHandle(
        ttypes.THandleIdentifier(uuid.UUID(of_kyuubi.handle).bytes, b""))
    assert_unknown(over_http.info(17).status)
    over_http.session = own
    assert of_kyuubi.rows(operation) == [[1]]
    of_kyuubi.close()


def test_administrators_see_and_end_sessions_of_all_dialects(up, binary, over_http, administrator, user):
    """kyuubi#63, #64: those of JDBC are listed, counted and closed with those of Kyuubi's REST API"""
    own = Kyuubi(up.endpoints["kyuubi"], user)
    conf = {"kyuubi.session.name": "mine", "my.password": "hidden"}
    handles = {handle_of(opened(probe, conf=conf)) for probe in (binary, over_http)}
    # The own session of a statement is nobody's.
    assert binary.status(binary.execute("select 1", overlay={"spark.sql.ansi.enabled": "false"}).operationHandle)
    listed = administrator.call("GET", f"admin/sessions?users={user}")
    assert {each["identifier"] for each in listed} == handles == {each["identifier"] for each in own.call("GET", "sessions")}
    for each in listed:
        assert (each["user"], each["sessionType"], each["sessionName"]) == (user, "INTERACTIVE", "mine")
        assert each["engineId"] and "hidden" not in str(each["conf"])
    # Those of other tests may be among them, and end meanwhile.
    assert own.call("GET", "sessions/count")["openSessionCount"] >= 2
    assert Kyuubi(up.endpoints["kyuubi"], "mallory").call("GET", "sessions") == []
    for probe in (binary, over_http):
        status, _, text = administrator.ask("DELETE", f"admin/sessions/{handle_of(probe)}")
        assert (status, text) == (200, f"Session {handle_of(probe)} is closed successfully.")
        assert_unknown(probe.info(17).status)
        assert administrator.refused("DELETE", f"admin/sessions/{handle_of(probe)}")[0] == 404
    assert administrator.call("GET", f"admin/sessions?users={user}") == []


def test_what_is_only_to_be_planned_is_not_run(binary):
    """A client that asks for the plan of an INSERT must not have the row written"""
    assert binary.open(conf=PLAN_ONLY).status.sqlState == "0A000"
    opened(binary, conf={"kyuubi.operation.plan.only.mode": "none"})
    assert binary.execute("set kyuubi.operation.plan.only.mode=parse").status.sqlState == "0A000"
    binary.run("create table planned (a int)")
    try:
        refused = binary.execute("insert into planned values (1)", overlay=PLAN_ONLY).status
        assert (refused.statusCode, refused.sqlState) == (ERROR, "0A000") and "EXPLAIN" in refused.errorMessage
        assert binary.value("select count(*) from planned") == 0
    finally:
        binary.run("drop table planned")
