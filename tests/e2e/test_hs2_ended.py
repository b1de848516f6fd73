"""Sessions over HiveServer2's protocol that somebody else ends. Cases: spec of HiveServer2's Thrift protocol."""

import base64
import uuid

import pytest
from hive_probe import ERROR, SUCCESS, Probe, ttypes
from kyuubi_client import Kyuubi

pytestmark = pytest.mark.usefixtures("together")


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
