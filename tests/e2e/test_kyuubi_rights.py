"""Who may do what over Kyuubi's REST API: tokens, administrators, users who act for others."""

import pytest
from berth_up import Up, wait_until
from kyuubi_batch import KyuubiBatch, in_parts
from kyuubi_client import Kyuubi
from livy_batch import marked

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


@pytest.fixture(scope="module")
def bob(guarded):
    return Kyuubi(guarded.endpoints["kyuubi"], "bob", BOB)


@pytest.fixture
def session(ann):
    session = ann.open()
    yield session
    ann.ask("DELETE", f"sessions/{session.handle}")


def test_i7_callers_must_be_known(guarded, ann):
    """kyuubi#3, #4, #5, #6, #7, #8, #10"""
    address = guarded.endpoints["kyuubi"]
    for method, path in (("GET", "ping"), ("GET", "nothing/here"), ("PUT", "sessions")):
        assert Kyuubi(address).refused(method, path)[0] == 401
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


def test_i7_a_foreign_handle_is_unknown(ann, bob, ops, session):
    """kyuubi#46: but to administrators"""
    operation = session.begin("select 1", runAsync=False)
    assert bob.refused("GET", f"sessions/{session.handle}")[0] == 404
    assert bob.refused("GET", f"operations/{operation}/rowset")[0] == 404
    assert bob.call("GET", "sessions") == ops.call("GET", "sessions") == []
    assert session.rows(operation) == [[1]]
    assert session.at(ops).shown()["user"] == "ann"
    assert session.at(ops).run("select current_user()") == session.run("select current_user()")
    assert session.at(ops).event(operation)["sessionUser"] == "ann"


def test_i7_only_administrators_act_for_others(ann, ops):
    """kyuubi#44, #45"""
    status, message = ann.refused("POST", "sessions", {"configs": {"hive.server2.proxy.user": "bob"}})
    assert status == 403 and "proxy privilege of ann for bob" in message
    session = ops.open({"kyuubi.session.proxy.user": "ann", "hive.server2.proxy.user": "bob"})
    shown = session.shown()
    assert (shown["user"], shown["conf"]["kyuubi.session.real.user"]) == ("ann", "ops")
    assert session.run("select 1") == [[1]]
    session.close()
    session = ops.open({"hive.server2.proxy.user": "ann"})
    assert session.shown()["user"] == "ann"
    session.close()


def test_i7_administrators_see_and_end_everything(ann, bob, ops, session):
    """kyuubi#63, #64, #65"""
    operation = session.begin("select sum(id * 7 % 11) from range(0, 2000000000000)")
    for method, path in (
            ("GET", "admin/sessions"), ("GET", "admin/operations"), ("GET", "admin/server"),
            ("DELETE", f"admin/sessions/{session.handle}"), ("DELETE", f"admin/operations/{operation}"),
            ("GET", "admin/engine?proxyUser=bob"), ("POST", "admin/refresh/deny_users")):
        assert ann.refused(method, path)[0] == 403, path

    def found(what, **query):
        words = "&".join(f"{key}={value}" for key, value in query.items())
        return [each["identifier"] for each in ops.call("GET", f"admin/{what}?{words}")]

    other = bob.open()
    of_bob = other.begin("select 1")
    assert found("sessions") == found("sessions", users="ann,bob") == [session.handle, other.handle]
    assert found("sessions", users="ann") == [session.handle]
    assert found("sessions", users="eve,ann", sessionType="INTERACTIVE") == [session.handle]
    assert found("sessions", sessionType="BATCH") == found("operations", sessionType="BATCH") == []
    assert set(found("operations")) == {operation, of_bob}
    assert found("operations", sessionHandle=session.handle) == [operation]
    assert found("operations", users="bob") == [of_bob]
    other.close()
    assert "is closed successfully" in ops.ask("DELETE", f"admin/operations/{operation}")[2]
    assert ann.refused("GET", f"operations/{operation}/event")[0] == 404
    assert "is closed successfully" in ops.ask("DELETE", f"admin/sessions/{session.handle}")[2]
    assert ann.refused("GET", f"sessions/{session.handle}")[0] == 404
    assert ops.refused("DELETE", f"admin/sessions/{session.handle}")[0] == 404


def test_brokers_are_servers_and_there_is_nothing_to_refresh(guarded, ann, ops):
    """kyuubi#68, #69"""
    (server,) = ops.call("GET", "admin/server")
    assert server["status"] == "Running" and server["instance"] == guarded.endpoints["admin"]
    for what in ("hadoop_conf", "user_defaults_conf", "kubernetes_conf", "unlimited_users", "deny_users", "deny_ips"):
        assert ops.ask("POST", f"admin/refresh/{what}")[0] == 200
        assert ann.refused("POST", f"admin/refresh/{what}")[0] == 403
    assert ops.call("GET", "admin/batch/count") == {"count": 0}


def test_i7_drivers_are_engines_of_their_users(guarded, ann, bob, ops, session):
    """kyuubi#66, #67: no more of them end than were asked for"""
    level = "kyuubi.engine.share.level"
    named, other = ann.open({level: "CONNECTION", f"{level}.subdomain": "etl"}), bob.open()
    for each in (session, named, other):
        assert each.run("select 1") == [[1]]
    engines = ann.call("GET", "admin/engine")
    assert {engine["subdomain"] for engine in engines} == {"default", "etl"} and len(engines) == 2
    for engine in engines:
        assert set(engine) == {
            "version", "user", "engineType", "sharelevel", "subdomain", "instance", "namespace", "attributes"}
        assert (engine["user"], engine["sharelevel"]) == ("ann", "CONNECTION")
    assert ops.call("GET", "admin/engine?proxyUser=ann") == engines
    (of_bob,) = ops.call("GET", "admin/engine?proxyUser=&hive.server2.proxy.user=bob")
    assert of_bob == bob.call("GET", "admin/engine")[0] and of_bob not in engines
    (etl,) = ann.call("GET", "admin/engine?subdomain=etl&type=spark_sql&sharelevel=connection")
    assert ann.refused("DELETE", "admin/engine")[0] == 400
    for nothing in ("type=TRINO", "sharelevel=USER", "subdomain=odd"):
        assert ann.call("GET", f"admin/engine?{nothing}") == []
        assert ann.ask("DELETE", f"admin/engine?kill=true&{nothing}")[::2] == (200, "")
    told = ann.ask("DELETE", "admin/engine?kill=true&subdomain=etl")[2]
    assert told == f"Engine {etl['instance']} is deleted successfully."
    assert ann.refused("GET", f"sessions/{named.handle}")[0] == 404
    wait_until(lambda: not marked(etl["instance"]), 60, "the application lives on")
    assert session.run("select 2") == [[2]]
    assert session.shown()["engineId"] in ann.ask("DELETE", "admin/engine?kill=true")[2]
    assert ann.refused("GET", f"sessions/{session.handle}")[0] == 404
    assert ann.ask("DELETE", "admin/engine?kill=true")[2] == ""
    assert other.run("select 3") == [[3]]
    other.close()


SLEEPING = b"import time\ntime.sleep(600)\n"


def test_i7_a_batch_is_its_submitter_s(ann, bob, ops):
    """kyuubi#57, #60: others do not see it, and may not end it; administrators do both"""
    request = {"batchType": "PYSPARK", "resource": "app.py", "conf": {"kyuubi.session.proxy.user": "ann"}}
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
    assert ops.call("GET", "admin/batch/count?batchUser=ann&batchType=pyspark") == {"count": 1}
    assert ops.call("GET", "admin/batch/count?batchUser=ann") == {"count": 0}
    for what, handle in (("sessions", "identifier"), ("operations", "sessionId")):
        (listed,) = ops.call("GET", f"admin/{what}?sessionType=BATCH&users=ann")
        assert (listed[handle], listed["sessionType"]) == (batch.id, "BATCH")
        assert ops.call("GET", f"admin/{what}?sessionType=BATCH&users=bob") == []
    # It is no engine, and does not end with those.
    assert ann.call("GET", "admin/engine") == []
    assert ann.ask("DELETE", "admin/engine?kill=true")[::2] == (200, "")
    assert batch.shown()["state"] in ("PENDING", "RUNNING")
    assert batch.cancel()["success"] is True
    batch.wait("CANCELED")
    assert ops.call("GET", "admin/sessions?sessionType=BATCH&users=ann") == []


def test_i5_a_limit_is_told_and_its_room_comes_back(bob):
    """kyuubi#70: sessions and batches count together, and a refusal takes no room"""
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
