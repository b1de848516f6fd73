"""Livy's REST surface on real drivers: what ends sessions, what is told of them, who may use them."""

import json
import socket
import time
import urllib.error
import urllib.request

import pytest
from berth_up import wait_until
from held_file import held_file
from livy_batch import marked
from livy_client import Caller, LivySession


@pytest.fixture
def livy(up):
    up.wait_warm()
    session = LivySession(up.endpoints["livy"]).wait_idle()
    yield session
    session.close()


@pytest.fixture
def held():
    """A file on the web that drivers start with: none of them starts while it is held back."""
    with held_file() as file:
        yield file


def is_listed(call, number):
    return number in [each["id"] for each in call("GET", "/sessions?size=1000")[2]["sessions"]]


def test_a_session_lives_by_its_heartbeat(up):
    """livy#50: alive while it is called for, gone after that; a list is no call for it."""
    up.wait_warm()
    call = Caller(up)
    number = LivySession(up.endpoints["livy"], heartbeatTimeoutInSecond=5).wait_idle().id
    until = time.monotonic() + 20
    while time.monotonic() < until:
        assert call("GET", f"/sessions/{number}")[0] == 200
        time.sleep(0.5)  # The calls themselves are what is tested: a client's heartbeat.
    wait_until(lambda: not is_listed(call, number), 60, "the session does not end")
    assert call("GET", f"/sessions/{number}")[0] == 404


def test_an_idle_session_ends_and_a_busy_one_does_not(up):
    """livy#51, livy#52: calls that only read do not keep it, statements do, short ones and one that runs."""
    call = Caller(up)

    def started():
        up.wait_warm()
        return LivySession(up.endpoints["livy"], idleTimeout="10s").wait_idle()

    busy = started()
    busy.submit("import time; time.sleep(600)")
    idle = started()
    # The last one: a driver may take longer to start than this session may be idle.
    used = started()

    def ended():
        used.run("2")
        return call("GET", f"/sessions/{idle.id}")[0] == 404

    wait_until(ended, 60, "the idle session does not end")
    assert (busy.state(), used.state()) == ("busy", "idle")
    busy.close()
    used.close()


def test_a_session_ends_with_its_ttl(up):
    """Whatever it does."""
    up.wait_warm()
    call = Caller(up)
    session = LivySession(up.endpoints["livy"], ttl="30s").wait_idle()
    session.submit("import time; time.sleep(600)")
    wait_until(lambda: call("GET", f"/sessions/{session.id}")[0] == 404, 120, "the session does not end")


def test_i3_a_statement_with_its_key_runs_once(up, livy, tmp_path):
    """A retry after a lost answer, with the header that makes it safe."""
    call, target = Caller(up), tmp_path / "written"
    code = {"code": f"with open({str(target)!r}, 'a') as out:\n    out.write('once\\n')"}
    path = f"/sessions/{livy.id}/statements"
    answers = [call("POST", path, code, **{"Idempotency-Key": "k1"}) for _ in range(3)]
    assert [status for status, _, _ in answers] == [201, 201, 201]
    assert len({body["id"] for _, _, body in answers}) == 1
    livy.output(answers[0][2]["id"])
    assert call("POST", path, code, **{"Idempotency-Key": "k1"})[2]["state"] == "available"
    assert target.read_text() == "once\n"
    assert call("POST", path, {"code": "2"}, **{"Idempotency-Key": "k1"})[0] == 422


def test_cancelling_is_shown_and_lists_tell_the_truth(livy):
    """livy#69, livy#72"""
    statement = livy.submit("import time\nfor _ in range(600):\n    try:\n        time.sleep(1)\n"
                            "    except KeyboardInterrupt:\n        time.sleep(3)\n        raise")
    shown = lambda: livy.call("GET", f"/{livy.id}/statements")["statements"][-1]  # noqa: E731
    wait_until(lambda: shown()["state"] == "running", 60, "not running in the list")
    livy.call("POST", f"/{livy.id}/statements/{statement}/cancel")
    assert shown()["state"] in ("cancelling", "cancelled")
    assert wait_until(lambda: livy.ended(statement), 60, "not cancelled")["state"] == "cancelled"


def test_statements_wait_in_turn_and_say_when_they_ran(livy, tmp_path):
    """livy#42, livy#68, livy#69, livy#75: one that waits is cancelled at once, whatever runs"""
    gates = [tmp_path / "first", tmp_path / "second"]
    held = "import os, time\nwhile not os.path.exists({!r}):\n    time.sleep(0.02)\n2"
    first, second = (livy.submit(held.format(str(gate))) for gate in gates)
    unwanted = livy.submit(f"open({str(tmp_path / 'unwanted')!r}, 'w')")
    shown = lambda number: livy.call("GET", f"/{livy.id}/statements/{number}")  # noqa: E731
    wait_until(lambda: shown(first)["state"] == "running", 60, "the first does not run")
    for number in (second, unwanted):
        waiting = shown(number)
        assert (waiting["state"], waiting["started"], waiting["completed"]) == ("waiting", 0, 0)
    livy.call("POST", f"/{livy.id}/statements/{unwanted}/cancel")
    wait_until(lambda: shown(unwanted)["state"] == "cancelled", 5, "what waits is not cancelled at once")
    assert (shown(first)["state"], shown(second)["state"], livy.state()) == ("running", "waiting", "busy")
    gates[0].touch()
    wait_until(lambda: shown(second)["state"] == "running", 60, "the second does not run")
    assert livy.state() == "busy"
    gates[1].touch()
    assert livy.output(second)["data"] == {"text/plain": "2"}
    assert not (tmp_path / "unwanted").exists()
    ran, ran_next = shown(first), shown(second)
    assert 0 < ran["started"] <= ran["completed"] <= ran_next["started"] <= ran_next["completed"] <= time.time() * 1000
    assert livy.state() == "idle"


def test_a_session_that_is_deleted_while_it_starts_leaves_nothing(up, held):
    """livy#44, livy#76: its file wants a driver of its own, which has to start; nobody waits for that or for its end"""
    up.wait_warm()
    before = {row["id"] for row in up.ask("drivers")}
    made = lambda: [row for row in up.ask("drivers") if row["id"] not in before]  # noqa: E731
    session = LivySession(up.endpoints["livy"], files=[held.url])
    assert held.asked.wait(120), "no driver starts"
    status, _, said = Caller(up)("POST", f"/sessions/{session.id}/statements", {"code": "1"})
    assert (status, said) == (500, {"msg": "Session is in state starting"})
    began = time.monotonic()
    session.close()
    assert time.monotonic() - began < 2, "the client waits for the driver"
    assert not is_listed(Caller(up), session.id)
    wait_until(lambda: not made(), 10, "a driver stays")


def test_a_session_whose_file_is_not_there_is_dead(up, local_jobs):
    """livy#45: its driver cannot start, and the log says why"""
    session = LivySession(up.endpoints["livy"], files=[f"{local_jobs}/missing.txt"])
    wait_until(lambda: session.state() == "dead", 120, "the session is not dead")
    _, _, log = Caller(up)("GET", f"/sessions/{session.id}/log?size=-1")
    assert "missing.txt" in log["log"][-1], log["log"]
    session.close()


def test_a_session_whose_driver_never_gets_ready_is_dead(up, held):
    """livy#45: its file never comes, to the first driver nor to the second, and nothing of them stays"""
    def drivers():
        return {row["id"] for row in up.ask("drivers") if row["profile"] == "impatient"}
    session = LivySession(up.endpoints["livy"], files=[held.url], conf={"spark.berth.profile": "impatient"})
    assert held.asked.wait(120), "no driver starts"
    (first,) = drivers()
    wait_until(lambda: session.state() == "dead", 120, "the session is not dead")
    assert "start-seconds" in Caller(up)("GET", f"/sessions/{session.id}/log?size=-1")[2]["log"][-1]
    wait_until(lambda: not drivers() and not marked(first), 10, "its processes live on")
    session.close()


def test_i2_a_statement_is_taken_while_there_is_no_driver(up, held, tmp_path):
    """livy#113: the session's next driver has to start; statements are durable meanwhile, run in order, and once"""
    target = tmp_path / "written"
    held.may_go.set()
    session = LivySession(up.endpoints["livy"], files=[held.url]).wait_idle()
    assert session.run("x = 20") == ""
    held.may_go.clear()
    up.kill_driver(dialect="livy", client_id=str(session.id))
    # What a dying driver's agent still takes is carried on, which is another test's.
    wait_until(lambda: session.state() == "recovering", 60, "the loss is not seen")
    call, path = Caller(up), f"/sessions/{session.id}/statements"
    codes = ["x += 1", f"with open({str(target)!r}, 'a') as out:\n    print('once', x, file=out)", "1 / 0", "x * 2"]
    for number, code in enumerate(codes, 1):
        began = time.monotonic()
        status, _, taken = call("POST", path, {"code": code}, **{"Idempotency-Key": f"k{number}"})
        assert (status, taken["id"], taken["state"]) == (201, number, "waiting")
        assert call("GET", f"{path}/{number}")[2]["state"] == "waiting"
        assert time.monotonic() - began < 5, "the client waits for the driver"
    assert session.state() == "recovering"
    assert call("POST", f"{path}/3/cancel", {})[0] == 200
    held.may_go.set()
    assert session.output(4)["data"] == {"text/plain": "42"}
    assert session.ended(3)["state"] == "cancelled"
    assert call("POST", path, {"code": codes[1]}, **{"Idempotency-Key": "k2"})[2]["id"] == 2
    assert target.read_text() == "once 21\n"
    session.close()


def test_a_recovery_is_told(up, livy, tmp_path):
    """livy#53, livy#54, and what was not rebuilt: in the log, at /recovery, on the page."""
    call = Caller(up)
    target = tmp_path / "written"
    livy.run("x = 1")
    livy.run(f"open({str(target)!r}, 'w').close()")
    livy.run("import uuid\nuuid.uuid4()")
    up.wait_warm()
    up.kill_driver(dialect="livy", client_id=str(livy.id))
    assert livy.run("x + 1") == "2"
    _, _, told = call("GET", f"/sessions/{livy.id}/recovery")
    assert told["recoveries"] == 1
    written, lost = told["events"][-1]["lost"]
    assert written.startswith("statement 1: not run again, since it had outside effects")
    assert lost == "statement 2: run again, with another output than the first time"
    livy.run("import os\nfor n in range(120):\n    os.write(2, b'line %d\\n' % n)")
    page = lambda query="": call("GET", f"/sessions/{livy.id}/log{query}")[2]  # noqa: E731
    everything, tail = page("?size=-1"), page()
    assert set(tail) == {"id", "from", "total", "log"}
    log, total = everything["log"], everything["total"]
    assert log[0] == "stdout: " and "\nstderr: " in log and log[-1].endswith(lost)
    assert "line 119" in log and len(log) == total > 100
    assert (tail["from"], tail["log"]) == (total - 100, log[-100:])
    assert page("?from=0&size=1")["log"] == log[:1]
    assert page(f"?from={total + 1}")["log"] == []
    _, _, shown = call("GET", f"/sessions/{livy.id}")
    assert shown["appInfo"] == {"driverLogUrl": None, "sparkUiUrl": None, "executorLogUrls": None}
    assert repr(shown["appId"]) == livy.run("sc.applicationId")
    status, headers, page = call("GET", f"/ui/session/{livy.id}")
    assert status == 200 and "script" not in headers["Content-Security-Policy"]
    assert lost in page and "x + 1" in page


def test_sparks_pages_are_told_where_the_profile_has_them(up):
    """livy#53: of the driver that the session has, on its node; the next driver has others"""
    call, shown = Caller(up), {}
    livy = LivySession(up.endpoints["livy"], conf={"spark.berth.profile": "shown"}).wait_idle()

    def pages():
        told = call("GET", f"/sessions/{livy.id}")[2]
        url = told["appInfo"]["sparkUiUrl"]
        with urllib.request.urlopen(f"{url}/api/v1/applications", timeout=30) as answer:
            (application,) = json.load(answer)
        assert application["id"] == told["appId"] and told["appInfo"]["driverLogUrl"] is None
        shown[told["appId"]] = url

    pages()
    up.kill_driver(dialect="livy", client_id=str(livy.id))
    assert livy.run("1 + 1") == "2"
    pages()
    assert len(shown) == 2
    livy.close()


def test_the_pages_are_where_livys_are(up, livy):
    """livy#36"""
    call = Caller(up)
    status, headers, _ = call("GET", "/")
    assert (status, headers["Location"]) == (302, "/ui/")
    assert f'href="session/{livy.id}"' in call("GET", "/ui/")[2]


def test_i7_sessions_are_their_owners(up):
    """livy#103 with Berth's stricter default: others do not even see it."""
    alice, bob = Caller(up, "alice"), Caller(up, "bob")
    _, _, created = alice("POST", "/sessions", {"kind": "pyspark"})
    assert created["owner"] == "alice"
    number = created["id"]
    for method, path in [("GET", f"/sessions/{number}"), ("GET", f"/ui/session/{number}"),
                         ("DELETE", f"/sessions/{number}")]:
        assert bob(method, path)[0] == 403
    assert number not in [each["id"] for each in bob("GET", "/sessions")[2]["sessions"]]
    assert alice("DELETE", f"/sessions/{number}")[2] == {"msg": "deleted"}


def test_a_client_that_waits_before_it_sends_is_told_to(up):
    """livy#10, livy#41: as the Java client does, and with headers of 100 kB."""
    host, port = up.endpoints["livy"].rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=30) as client:
        head = (f"POST /sessions HTTP/1.1\r\nHost: {host}\r\nContent-Length: 2\r\nExpect: 100-continue\r\n"
                f"Content-Encoding: UTF-8\r\nX-Large: {'x' * 100_000}\r\n\r\n")
        client.sendall(head.encode())
        assert client.recv(1024).startswith(b"HTTP/1.1 100")
        client.sendall(b"{}")
        answer = client.recv(4096)
        assert answer.startswith(b"HTTP/1.1 201"), answer
    number = json.loads(answer.split(b"\r\n\r\n", 1)[1])["id"]
    assert Caller(up)("DELETE", f"/sessions/{number}")[0] == 200


def test_statements_of_a_session_that_is_over(livy):
    """livy#76"""
    livy.call("POST", f"/{livy.id}/stop")
    for method, wanted in (("GET", 400), ("POST", 500)):
        with pytest.raises(urllib.error.HTTPError) as refused:
            livy.call(method, f"/{livy.id}/statements", {"code": "1"} if method == "POST" else None)
        assert refused.value.code == wanted
