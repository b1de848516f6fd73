"""A plain Livy client, as in every tutorial: JSON over HTTP."""

import json
import urllib.request

from berth_up import wait_until


class LivySession:
    def __init__(self, address, **request):
        self.base = f"http://{address}/sessions"
        self.id = self.call("POST", "", {"kind": "pyspark", **request})["id"]

    def wait_idle(self):
        wait_until(lambda: self.state() == "idle", 180, f"Livy session {self.id} does not get idle")
        return self

    def state(self):
        return self.call("GET", f"/{self.id}/state")["state"]

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
