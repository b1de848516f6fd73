"""What Livy's REST API says in headers, whom it refuses and why: over HTTP, mostly without a driver."""

import pytest
from berth_up import Up, wait_until
from held_file import held_file
from livy_client import Caller, LivySession

USERS = ("ann", "bob", "eve", "ops")
# What no node has: such a session is soon dead, and costs no driver.
TOO_MUCH = 1 << 50
SECURITY = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "SAMEORIGIN",
    "X-XSS-Protection": "1; mode=block",
    "Content-Security-Policy":
        "default-src 'self'; script-src 'self' 'unsafe-inline'; img-src 'self'; frame-src 'self';",
}
REQUESTED = {"X-Requested-By": "me"}


def token(user):
    return f"{user}-token-0123456789"


def guarded(directory, *sets):
    """A Berth that asks for tokens."""
    tokens = directory / "tokens"
    lines = [f"{token(user)} {user} all{' operator' if user == 'ops' else ''}" for user in USERS]
    tokens.write_text("\n".join(lines))
    sets = (f"auth.token-file={tokens}", 'broker.livy.view-users=["eve"]', *sets)
    flags = [part for each in sets for part in ("--set", each)]
    return Up(directory / "data", "--warm", "0", *flags, env={"BERTH_TOKEN": token("ops")})


def user(up, name, **headers):
    return Caller(up, name, token(name), **headers)


@pytest.fixture(scope="module")
def careful(tmp_path_factory):
    """With the header against cross-site requests, and small limits."""
    berth = guarded(
        tmp_path_factory.mktemp("careful"), f"agent.profiles.default.memory-bytes={TOO_MUCH}",
        "broker.livy.csrf-protection=true", "broker.livy.max-body-bytes=4096", "broker.livy.max-code-bytes=1024")
    yield berth
    berth.stop()


@pytest.fixture
def ann(careful):
    return user(careful, "ann", **REQUESTED)


@pytest.fixture
def dead(ann):
    """The path of a session that found no place."""
    _, headers, _ = ann("POST", "/sessions", {"kind": "pyspark"})
    path = headers["Location"]
    wait_until(lambda: ann("GET", f"{path}/state")[2]["state"] == "dead", 30, "it finds a place")
    yield path
    ann("DELETE", path)


@pytest.mark.parametrize("sent", [{}, {"Authorization": "Basic YW5uOndyb25n"}], ids=["nothing", "wrong"])
def test_i7_who_shows_no_token_is_asked_for_one(careful, sent):
    """livy#107, #3, #108: a wrong one is asked for again, where Livy answers 403"""
    status, headers, body = Caller(careful, **sent)("GET", "/sessions")
    assert status == 401
    assert [each.split()[0] for each in headers.get_all("WWW-Authenticate")] == ["Bearer", "Basic"]
    assert headers["Content-Type"] == "application/json;charset=utf-8" and body["msg"]
    assert headers["X-Frame-Options"] and headers["X-Content-Type-Options"] == "nosniff"


def test_each_answer_is_json_and_guards_browsers(ann, careful, dead):
    """livy#3, #108: errors and answers without a body, too; this is no TLS, so nothing is said of that"""
    long = {"kind": "pyspark", "name": "n" * 5000}
    calls = [
        (200, "GET", "/sessions", None, {}),
        (200, "GET", f"{dead}/log", None, {}),
        (400, "POST", "/sessions", {"kind": "foo"}, {}),
        (400, "GET", f"{dead}/statements", None, {}),
        (403, "DELETE", dead, None, {"Authorization": user(careful, "bob").headers["Authorization"]}),
        (404, "GET", "/sessions/4711", None, {}),
        (404, "GET", "/nothing", None, {}),
        (405, "PUT", dead, None, {}),
        (406, "GET", "/sessions", None, {"Accept": "application/vnd.livy.v9.9"}),
        (413, "POST", "/sessions", long, {}),
        (422, "POST", "/sessions", {"kind": "sql"}, {"Idempotency-Key": "key"}),
        (500, "POST", f"{dead}/statements", {"code": "1"}, {}),
    ]
    number = ann("POST", "/sessions", {"kind": "pyspark"}, **{"Idempotency-Key": "key"})[2]["id"]
    for expected, method, path, body, more in calls:
        status, headers, said = ann(method, path, body, **more)
        assert status == expected, (path, said)
        assert headers["Content-Type"].replace(" ", "").lower() == "application/json;charset=utf-8", path
        assert {name: headers[name] for name in SECURITY} == SECURITY, path
        assert headers["Strict-Transport-Security"] is None
        assert expected < 400 or list(said) == ["msg"], said
    status, headers, _ = ann("POST", f"{dead}/stop")
    assert status == 204 and {name: headers[name] for name in SECURITY} == SECURITY
    ann("DELETE", f"/sessions/{number}")


def test_i7_writes_want_the_header_that_a_form_cannot_send(careful):
    """livy#97: any value of it will do, none at all too"""
    bare = user(careful, "ann")
    refused = (400, {"msg": "Missing Required Header for CSRF protection."})
    answer = bare("POST", "/sessions", {})
    assert (answer[0], answer[2]) == refused
    for value in ("", "someone"):
        status, headers, _ = bare("POST", "/sessions", {}, **{"X-Requested-By": value})
        assert status == 201
        path = headers["Location"]
        assert bare("GET", path)[0] == 200
        answer = bare("DELETE", path)
        assert (answer[0], answer[2]) == refused
        assert bare("DELETE", path, **{"X-Requested-By": value})[2] == {"msg": "deleted"}


def test_each_alias_of_a_kind_is_read_back_as_the_kind(ann):
    """livy#15"""
    for alias, kind in (("scala", "spark"), ("python", "pyspark"), ("r", "sparkr")):
        status, headers, made = ann("POST", "/sessions", {"kind": alias})
        path = headers["Location"]
        assert (status, made["kind"], ann("GET", path)[2]["kind"]) == (201, kind, kind)
        ann("DELETE", path)


def test_times_and_paths_that_are_none_are_refused(ann):
    """livy#38, #39, #51: and no id is used up"""
    def made(**fields):
        return ann("POST", "/sessions", {"kind": "pyspark", **fields})

    before = made()[2]["id"]
    for key in ("ttl", "idleTimeout"):
        for text in ("abc", "10 parsecs", "-5s", ""):
            status, _, body = made(**{key: text})
            assert status == 400 and body["msg"].startswith("Rejected, Reason: Invalid "), (key, text, body)
    cases = [
        ("relative.jar", "is not absolute"),
        ("file:/etc/passwd", "cannot be added to user sessions"),
        ("/etc/passwd", "cannot be added to user sessions"),
        ("file:///tmp/../etc/passwd", "cannot be added to user sessions"),
    ]
    for path, why in cases:
        for key in ("jars", "files", "pyFiles"):
            status, _, body = made(**{key: [path]})
            assert status == 400 and why in body["msg"], (key, path, body)
    numbers = [before]
    for text in ("10m", "600s", "1h", "5"):
        status, _, body = made(ttl=text, idleTimeout=text)
        assert (status, body["ttl"], body["idleTimeout"]) == (201, text, text)
        numbers.append(body["id"])
    assert numbers == list(range(before, before + 5))
    for number in numbers:
        ann("DELETE", f"/sessions/{number}")


def test_a_page_of_sessions_says_where_it_begins(ann):
    """livy#21, #22"""
    numbers = [ann("POST", "/sessions", {})[2]["id"] for _ in range(2)]
    total = ann("GET", "/sessions")[2]["total"]
    page = ann("GET", "/sessions?from=1&size=1")[2]
    assert (page["from"], page["total"], len(page["sessions"])) == (1, total, 1)
    assert [each["id"] for each in ann("GET", "/sessions")[2]["sessions"]][-2:] == numbers
    assert ann("GET", "/sessions?from=99")[2] == {"from": 99, "total": total, "sessions": []}
    for number in numbers:
        ann("DELETE", f"/sessions/{number}")


class Session(LivySession):
    """A session that a Berth with tokens has made."""

    def __init__(self, caller, path):
        self.caller, self.path, self.id = caller, path, path.rsplit("/", 1)[1]

    def call(self, method, path, body=None):
        status, _, answer = self.caller(method, f"/sessions{path}", body)
        assert status < 300, answer
        return answer


def test_a_session_that_starts_takes_the_place_of_another_and_is_read_by_viewers(tmp_path):
    """livy#3, #37, #76, #104"""
    berth = guarded(tmp_path, "broker.livy.max-starting=1", f"agent.profiles.none.memory-bytes={TOO_MUCH}",
                    "agent.profiles.none.warm=0")
    ann, eve, bob = (user(berth, name) for name in ("ann", "eve", "bob"))
    other = {"conf": {"spark.berth.profile": "none"}}
    try:
        with held_file() as held:
            path = ann("POST", "/sessions", {"kind": "pyspark", "files": [held.url]})[1]["Location"]
            assert held.asked.wait(120), "no driver starts"
            status, _, said = ann("POST", "/sessions", other)
            assert (status, said) == (400, {"msg": "Rejected, too many sessions are being created!"})
            status, _, said = ann("POST", f"{path}/statements", {"code": "1"})
            assert (status, said) == (500, {"msg": "Session is in state starting"})
            assert ann("GET", f"{path}/statements")[2] == {"total_statements": 0, "statements": []}
            status, headers, _ = ann("POST", f"{path}/completion", {"code": "x", "kind": "pyspark"})
            assert (status, headers["Content-Type"]) == (503, "application/json;charset=utf-8")
            held.may_go.set()
            session = Session(ann, path).wait_idle()
        created = lambda: (answer := ann("POST", "/sessions", other))[0] == 201 and answer  # noqa: E731
        _, headers, _ = wait_until(created, 30, "the place does not get free")
        ann("DELETE", headers["Location"])
        assert session.run("20 + 22") == "42"
        seen = eve("GET", f"{path}/statements/0")[2]
        assert (seen["output"]["data"], seen["code"]) == ({"text/plain": "42"}, "20 + 22")
        assert eve("GET", f"{path}/log")[2]["total"] > 0
        for method, where in (("POST", f"{path}/statements"), ("DELETE", path)):
            assert eve(method, where, {"code": "1"})[0] == 403
        assert bob("GET", f"{path}/statements/0")[0] == 403
        ann("DELETE", path)
    finally:
        berth.stop()
