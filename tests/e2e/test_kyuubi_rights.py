"""Who may do what over Kyuubi's REST API: tokens, administrators, users who act for others."""

import pytest
from berth_up import Up
from kyuubi_client import Kyuubi

ANN, BOB, OPS = "ann:token:0123456789", "bob-token-0123456789", "ops-token-0123456789"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """A Berth that asks for tokens."""
    directory = tmp_path_factory.mktemp("guarded kyuubi")
    tokens = directory / "tokens"
    tokens.write_text(f"{ANN} ann science\n{BOB} bob arts\n{OPS} ops ops operator\n")
    berth = Up(directory / "data", "--warm", "1", "--set", f"auth.token-file={tokens}", env={"BERTH_TOKEN": OPS})
    berth.wait_warm()
    yield berth
    berth.stop()


@pytest.fixture(scope="module")
def ann(guarded):
    return Kyuubi(guarded.endpoints["kyuubi"], "ann", ANN)


@pytest.fixture(scope="module")
def ops(guarded):
    return Kyuubi(guarded.endpoints["kyuubi"], "ops", OPS)


@pytest.fixture
def session(ann):
    session = ann.open()
    yield session
    ann.ask("DELETE", f"sessions/{session.handle}")


def test_i7_callers_must_be_known(guarded, ann):
    """kyuubi#3, #4, #5, #6, #7, #8"""
    address = guarded.endpoints["kyuubi"]
    assert Kyuubi(address).refused("GET", "ping")[0] == 401
    assert Kyuubi(address).ask("GET", "/api/openapi.json")[0] == 200
    assert Kyuubi(address, "ann", "wrong-token-0123456789").refused("GET", "ping")[0] == 403
    status, headers, _ = Kyuubi(address, "ann").ask("GET", "ping")
    assert status == 401 and "BASIC" in headers.get_all("WWW-Authenticate")
    login = ann.headers["Authorization"].split()[1]
    for scheme in ("BASIC", "basic", "Basic"):
        assert Kyuubi(address, headers={"Authorization": f"{scheme} {login}"}).ask("GET", "ping")[0] == 200
    assert Kyuubi(address, headers={"Authorization": f"Bearer {BOB}"}).ask("GET", "ping")[0] == 200


def test_i7_rest_on_the_port_of_hiveserver2_asks_too(guarded):
    assert Kyuubi(guarded.endpoints["hs2"]).refused("GET", "sessions")[0] == 401
    assert Kyuubi(guarded.endpoints["hs2"], "ann", ANN).ask("GET", "sessions")[0] == 200


def test_i7_a_foreign_handle_is_unknown(guarded, ann, session):
    """kyuubi#46"""
    bob = Kyuubi(guarded.endpoints["kyuubi"], "bob", BOB)
    operation = session.begin("select 1", runAsync=False)
    assert bob.refused("GET", f"sessions/{session.handle}")[0] == 404
    assert bob.refused("GET", f"operations/{operation}/rowset")[0] == 404
    assert bob.call("GET", "sessions") == []
    assert session.rows(operation) == [[1]]


def test_i7_only_administrators_act_for_others(ann, ops):
    """kyuubi#44, #45"""
    status, message = ann.refused("POST", "sessions", {"configs": {"hive.server2.proxy.user": "bob"}})
    assert status == 403 and "proxy privilege of ann for bob" in message
    session = ops.open({"kyuubi.session.proxy.user": "ann", "hive.server2.proxy.user": "bob"})
    shown = session.shown()
    assert (shown["user"], shown["conf"]["kyuubi.session.real.user"]) == ("ann", "ops")
    assert session.run("select 1") == [[1]]
    session.close()


def test_i7_administrators_see_and_end_everything(ann, ops, session):
    """kyuubi#63, #64, #65"""
    operation = session.begin("select sum(id * 7 % 11) from range(0, 2000000000000)")
    for method, path in (
            ("GET", "admin/sessions"), ("GET", "admin/operations"), ("GET", "admin/server"),
            ("DELETE", f"admin/sessions/{session.handle}"), ("DELETE", f"admin/operations/{operation}"),
            ("GET", "admin/engine?proxyUser=bob"), ("POST", "admin/refresh/deny_users")):
        assert ann.refused(method, path)[0] == 403, path
    handles = [each["identifier"] for each in ops.call("GET", "admin/sessions?users=ann,bob")]
    assert handles == [session.handle]
    assert ops.call("GET", "admin/sessions?sessionType=BATCH") == []
    shown = ops.call("GET", f"admin/operations?sessionHandle={session.handle}")
    assert [each["identifier"] for each in shown] == [operation]
    assert "is closed successfully" in ops.ask("DELETE", f"admin/operations/{operation}")[2]
    assert ann.refused("GET", f"operations/{operation}/event")[0] == 404
    assert "is closed successfully" in ops.ask("DELETE", f"admin/sessions/{session.handle}")[2]
    assert ann.refused("GET", f"sessions/{session.handle}")[0] == 404
    assert ops.refused("DELETE", f"admin/sessions/{session.handle}")[0] == 404


def test_drivers_are_engines_and_brokers_are_servers(guarded, ann, ops, session):
    """kyuubi#66, #67, #68, #69"""
    session.run("select 1")
    (engine,) = ann.call("GET", "admin/engine")
    assert set(engine) == {
        "version", "user", "engineType", "sharelevel", "subdomain", "instance", "namespace", "attributes"}
    assert engine["user"] == "ann"
    assert ops.call("GET", "admin/engine?proxyUser=ann") == [engine]
    (server,) = ops.call("GET", "admin/server")
    assert server["status"] == "Running" and server["instance"] == guarded.endpoints["admin"]
    for what in ("hadoop_conf", "user_defaults_conf", "kubernetes_conf", "unlimited_users", "deny_users", "deny_ips"):
        assert ops.ask("POST", f"admin/refresh/{what}")[0] == 200
    assert ops.call("GET", "admin/batch/count") == {"count": 0}
    assert ann.refused("DELETE", "admin/engine")[0] == 400
    assert engine["instance"] in ann.ask("DELETE", "admin/engine?kill=true")[2]
    assert ann.refused("GET", f"sessions/{session.handle}")[0] == 404
    assert ann.ask("DELETE", "admin/engine?kill=true")[2] == ""
