import json
import urllib.request
import uuid

import pytest
from berth_up import wait_until
from pyspark.sql import SparkSession


@pytest.fixture
def user():
    return f"u{uuid.uuid4().hex[:8]}"


@pytest.fixture
def spark(cluster, user):
    cluster.wait_warm()
    session = SparkSession.builder.remote(f"{cluster.url}/;user_id={user}").create()
    session.conf.set("berth.test", user)
    session.range(100).createOrReplaceTempView("v")
    yield session
    session.stop()


class LivySession:
    def __init__(self, address):
        self.base = f"http://{address}/sessions"
        self.id = self.call("POST", "", {"kind": "pyspark"})["id"]
        wait_until(lambda: self.call("GET", f"/{self.id}/state")["state"] == "idle", 120, "the session does not start")

    def call(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self.base + path, data, {"Content-Type": "application/json"}, method=method)
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.load(answer)

    def submit(self, code):
        return self.call("POST", f"/{self.id}/statements", {"code": code})["id"]

    def output(self, statement, seconds=120):
        def ended():
            shown = self.call("GET", f"/{self.id}/statements/{statement}")
            return shown["state"] == "available" and shown["output"]
        return wait_until(ended, seconds, f"statement {statement} does not end")

    def run(self, code):
        output = self.output(self.submit(code))
        return output.get("data", {}).get("text/plain", output)

    def close(self):
        self.call("DELETE", f"/{self.id}")


@pytest.fixture
def livy(cluster):
    cluster.wait_warm()
    session = LivySession(cluster.livy.address)
    yield session
    session.close()
