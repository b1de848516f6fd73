"""Livy as the tutorials call it: curl, with what it sends by itself. The calls are theirs, to the letter."""

import gzip
import json
import re
import subprocess

import pytest
from berth_up import wait_until

# Of Livy's own documentation, in Python 3.
PI = """
import random
NUM_SAMPLES = 100000
def sample(p):
    x, y = random.random(), random.random()
    return 1 if x*x + y*y < 1 else 0

count = sc.parallelize(range(0, NUM_SAMPLES)).map(sample).reduce(lambda a, b: a + b)
print("Pi is roughly %f" % (4.0 * count / NUM_SAMPLES))
"""
JSON = ("-H", "Content-Type: application/json")


@pytest.fixture
def curl(up):
    """Calls a path and gives status, headers and body; ends the sessions that it made."""
    made = set()

    def call(path, *words, data=None):
        command = ["curl", "--silent", "--show-error", "--include", "--max-time", "180", *words]
        command += [] if data is None else ["--data", data]
        done = subprocess.run([*command, up.endpoints["livy"] + path], check=True, capture_output=True)
        # After an answer that only says to go on comes the real one.
        head, _, body = re.sub(rb"^HTTP/1.1 100.*?\r\n\r\n", b"", done.stdout, flags=re.S).partition(b"\r\n\r\n")
        status, *headers = head.decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in headers)
        answer = Answer(int(status.split()[1]), headers, body, done.stdout)
        if answer.status == 201 and path.rstrip("/") == "/sessions":
            made.add(answer.json()["id"])
        return answer

    yield call
    for session in made:
        call(f"/sessions/{session}", "-X", "DELETE")


class Answer:
    def __init__(self, status, headers, body, everything):
        self.status, self.headers, self.body, self.everything = status, headers, body, everything

    def json(self):
        return json.loads(self.body)


def test_pi_as_every_tutorial_has_it(up, curl):
    """livy#3, #5, #55: the session of `{'kind': 'pyspark'}`, a sum, and pi; its driver is killed between two calls"""
    up.wait_warm()
    made = curl("/sessions", "-X", "POST", *JSON, data=json.dumps({"kind": "pyspark"}))
    session = made.json()["id"]
    path = f"/sessions/{session}"
    assert (made.status, made.json()["state"], made.headers["location"]) == (201, "starting", path)
    wait_until(lambda: curl(path).json()["state"] == "idle", 120, "the session does not get idle")
    for number, (code, expected) in enumerate((("1 + 1", "^2$"), (PI, "^Pi is roughly 3.[01]"))):
        asked = curl(f"{path}/statements", *JSON, "-X", "POST", data=json.dumps({"code": code}))
        statement = f"{path}/statements/{number}"
        assert (asked.status, asked.headers["location"]) == (201, statement)
        assert set(asked.json()) == {"id", "code", "state", "output", "progress", "started", "completed"}
        assert (asked.json()["id"], asked.json()["code"]) == (number, code)
        ended = wait_until(lambda: is_available(curl(statement)), 120, "the statement does not end")
        assert re.search(expected, ended["output"]["data"]["text/plain"]), ended
    up.wait_warm()
    up.kill_driver(dialect="livy", client_id=str(session))
    asked = curl(f"{path}/statements", *JSON, "-X", "POST", data=json.dumps({"code": "NUM_SAMPLES"}))
    ended = wait_until(lambda: is_available(curl(f"{path}/statements/2")), 120, "the statement does not end")
    assert (asked.status, ended["output"]["data"]["text/plain"]) == (201, "100000")
    assert is_available(curl(f"{path}/statements/0"))["output"]["data"]["text/plain"] == "2"
    shown = curl(path, "-X", "DELETE")
    assert (shown.status, shown.json()) == (200, {"msg": "deleted"})
    assert shown.headers["content-type"].replace(" ", "") == "application/json;charset=utf-8"
    assert curl(path).status == 404


def is_available(answer):
    return answer.json() if answer.json()["state"] == "available" else None


@pytest.mark.parametrize(
    "path, words",
    [
        ("/sessions/", JSON),
        ("/sessions", ("-H", "Content-Type: text/plain")),
        ("/sessions", (*JSON, "-H", "Content-Encoding: UTF-8")),
        # Without a header of its own curl says that the body is a form; Livy loses it then.
        ("/sessions", ()),
    ],
    ids=["slash", "text", "charset", "form"],
)
def test_a_body_is_json_whatever_it_is_called(curl, path, words):
    """livy#7, #8, #9"""
    assert curl(path, *words, data=json.dumps({"kind": "pyspark"})).status == 201


def test_a_client_that_waits_to_be_asked_for_its_body(curl):
    """livy#10: as Livy's Java client does"""
    answer = curl("/sessions", *JSON, "-H", "Expect: 100-continue", data=json.dumps({"kind": "pyspark"}))
    assert answer.everything.startswith(b"HTTP/1.1 100 "), answer.everything
    assert answer.status == 201


def test_a_body_that_is_packed(curl, tmp_path):
    """livy#11"""
    packed = tmp_path / "body.gz"
    packed.write_bytes(gzip.compress(json.dumps({"kind": "pyspark"}).encode()))
    answer = curl("/sessions", *JSON, "-H", "Content-Encoding: gzip", "--data-binary", f"@{packed}")
    assert answer.status == 201
