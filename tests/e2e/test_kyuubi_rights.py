"""Who may do what over Kyuubi's REST API: tokens, administrators, users who act for others."""

import pytest
from berth_up import Up
from kyuubi_batch import KyuubiBatch, in_parts
from kyuubi_client import Kyuubi

ANN, BOB, OPS = "ann:token:0123456789", "bob-token-0123456789", "ops-token-0123456789"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """A Berth that asks for tokens."""
    directory = tmp_path_factory.mktemp("guarded kyuubi")
    tokens = directory / "tokens"
    tokens.write_text(f"{ANN} ann science\n{BOB} bob arts\n{OPS} ops ops operator\n")
    sets = ("--set", f"auth.token-file={tokens}", "--set", "broker.tenants.arts.sessions=2")
    berth = Up(directory / "data", "--warm", "1", *sets, env={"BERTH_TOKEN": OPS})
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


SLEEPING = b"import time\ntime.sleep(600)\n"


def test_i7_a_batch_is_its_submitter_s(guarded, ann, ops):
    """kyuubi#57, #60: others do not see it, and may not end it; administrators do both"""
    request = {"batchType": "PYSPARK", "resource": "app.py", "conf": {"kyuubi.session.proxy.user": "ann"}}
    bob = Kyuubi(guarded.endpoints["kyuubi"], "bob", BOB)
    files = {"resourceFile": ("app.py", SLEEPING)}
    status, refused = in_parts(bob, request, files)
    assert status == 403 and "proxy privilege of bob for ann" in refused["message"]
    status, created = in_parts(ops, request, files)
    assert (status, created["user"]) == (200, "ann"), created
    batch = KyuubiBatch(ann, created)
    assert batch.shown()["id"] == created["id"]
    for path in ("", "/localLog"):
        status, message = bob.refused("GET", f"batches/{batch.id}{path}")
        assert status == 404 and message.startswith("Invalid batchId")
    assert bob.call("GET", "batches")["batches"] == []
    assert [each["id"] for each in ann.call("GET", "batches")["batches"]] == [batch.id]
    assert [each["id"] for each in ops.call("GET", "batches?batchUser=ann")["batches"]] == [batch.id]
    assert bob.refused("DELETE", f"batches/{batch.id}")[0] == 403
    taken = {**request, "conf": {"kyuubi.batch.id": batch.id}}
    status, refused = in_parts(bob, taken, files)
    assert status == 403 and "another user" in refused["message"]
    for path, body in (("batches/reassign", {"kyuubiInstance": "x:1"}), ("admin/batch/count", None)):
        assert ann.refused("POST" if body else "GET", path, body)[0] == 403
    assert ops.call("GET", "admin/batch/count?batchUser=ann") == {"count": 1}
    assert batch.cancel()["success"] is True
    batch.wait("CANCELED")


def test_i5_a_limit_is_told_and_its_room_comes_back(guarded):
    """kyuubi#70: sessions and batches count together, and a refusal takes no room"""
    bob = Kyuubi(guarded.endpoints["kyuubi"], "bob", BOB)
    one, two = bob.open(), bob.open()
    files = {"resourceFile": ("app.py", b"print(1)")}
    for _ in range(3):
        status, message = bob.refused("POST", "sessions", {"configs": {}})
        assert status == 429 and "limit per user" in message, (status, message)
        status, refused = in_parts(bob, {"batchType": "PYSPARK", "resource": "app.py"}, files)
        assert status == 429 and "limit per user" in refused["message"], refused
    assert bob.call("GET", "batches")["total"] == 0
    one.close()
    three = bob.open()
    assert bob.refused("POST", "sessions", {"configs": {}})[0] == 429
    two.close()
    three.close()
