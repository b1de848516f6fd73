"""A plain Livy client, as in every tutorial: JSON over HTTP."""

import base64
import http.client
import json
import urllib.request

from berth_up import wait_until

# The words that clients know; some raise at another one.
STATES = frozenset((
    "not_started", "starting", "recovering", "idle", "busy", "running", "shutting_down", "error", "dead", "killed",
    "success"))


class LivySession:
    words = STATES

    def __init__(self, address, **request):
        self.base = f"http://{address}/sessions"
        self.id = self.call("POST", "", {"kind": "pyspark", **request})["id"]

    def wait_idle(self):
        wait_until(lambda: self.state() == "idle", 180, f"Livy session {self.id} does not get idle")
        return self

    def state(self):
        state = self.call("GET", f"/{self.id}/state")["state"]
        assert state in self.words, state
        return state

    def call(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self.base + path, data, {"Content-Type": "application/json"}, method=method)
        with urllib.request.urlopen(request, timeout=300) as answer:
            text = answer.read()
            return json.loads(text) if text else answer.status

    def submit(self, code, **more):
        return self.call("POST", f"/{self.id}/statements", {"code": code, **more})["id"]

    def ended(self, statement):
        shown = self.call("GET", f"/{self.id}/statements/{statement}")
        return shown if shown["state"] in ("available", "cancelled") else None

    def output(self, statement, seconds=180):
        return wait_until(lambda: self.ended(statement), seconds, f"statement {statement} does not end")["output"]

    def run(self, code, **more):
        output = self.output(self.submit(code, **more))
        return output.get("data", {}).get("text/plain", output)

    def close(self):
        self.call("DELETE", f"/{self.id}")


class Caller:
    """One user's calls: status, headers and body, errors included."""

    def __init__(self, up, user=None, password="x", **headers):
        self.address, self.headers = up.endpoints["livy"], headers
        if user:
            self.headers["Authorization"] = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()

    def __call__(self, method, path, body=None, **headers):
        connection = http.client.HTTPConnection(self.address, timeout=60)
        data = None if body is None else json.dumps(body)
        connection.request(method, path, data, {**self.headers, **headers})
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        is_json = answer.headers.get_content_type() == "application/json"
        return answer.status, answer.headers, json.loads(text) if is_json and text else text.decode()
