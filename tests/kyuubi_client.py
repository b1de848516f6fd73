"""A plain client of Kyuubi's REST API: JSON over HTTP."""

import base64
import http.client
import json
import urllib.error
import urllib.request

from berth_up import wait_until

SETTLED = ("FINISHED_STATE", "ERROR_STATE", "CANCELED_STATE", "TIMEDOUT_STATE")


class Kyuubi:
    def __init__(self, address, user=None, password="", scheme="http", context=None, headers=None):
        self.base, self.context = f"{scheme}://{address}", context
        self.headers = {"Content-Type": "application/json", **(headers or {})}
        if user is not None:
            login = base64.b64encode(f"{user}:{password}".encode()).decode()
            self.headers["Authorization"] = f"BASIC {login}"

    def ask(self, method, path, body=None, raw=None):
        """Status, headers and text of an answer, whatever it is."""
        data = raw if body is None else json.dumps(body).encode()
        path = path if path.startswith("/") else f"/api/v1/{path}"
        request = urllib.request.Request(self.base + path, data, self.headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=300, context=self.context) as answer:
                return answer.status, answer.headers, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.headers, error.read().decode()

    def call(self, method, path, body=None):
        status, _, text = self.ask(method, path, body)
        assert status == 200, (status, text)
        return json.loads(text) if text else None

    def location(self, path):
        """Status and target of an answer that sends its client elsewhere."""
        connection = http.client.HTTPConnection(self.base.removeprefix("http://"), timeout=60)
        connection.request("GET", path)
        answer = connection.getresponse()
        connection.close()
        return answer.status, answer.headers["Location"]

    def refused(self, method, path, body=None, raw=None):
        """Status and message of a refusal, which is JSON."""
        status, headers, text = self.ask(method, path, body, raw)
        assert status >= 400, text
        assert headers["Content-Type"] == "application/json"
        return status, json.loads(text)["message"]

    def open(self, configs=None, **more):
        return Session(self, self.call("POST", "sessions", {"configs": configs or {}, **more})["identifier"])


class Session:
    """A session of one client, which another client of the same user can use too."""

    def __init__(self, client, handle):
        self.client, self.handle = client, handle

    def at(self, client):
        return Session(client, self.handle)

    def shown(self):
        return self.client.call("GET", f"sessions/{self.handle}")

    def begin(self, statement, **more):
        body = {"statement": statement, "runAsync": True, **more}
        return self.client.call("POST", f"sessions/{self.handle}/operations/statement", body)["identifier"]

    def ask(self, question, **names):
        return self.client.call("POST", f"sessions/{self.handle}/operations/{question}", names)["identifier"]

    def event(self, operation):
        return self.client.call("GET", f"operations/{operation}/event")

    def settled(self, operation, seconds=180):
        def settled():
            event = self.event(operation)
            return event if event["state"] in SETTLED else None
        return wait_until(settled, seconds, f"operation {operation} does not end")

    def columns(self, operation):
        return self.client.call("GET", f"operations/{operation}/resultsetmetadata")["columns"]

    def page(self, operation, most=100, orientation="FETCH_NEXT"):
        """The rows of one fetch, as lists of fields."""
        page = self.client.call("GET", f"operations/{operation}/rowset?maxrows={most}&fetchorientation={orientation}")
        assert page["rowCount"] == len(page["rows"])
        return [row["fields"] for row in page["rows"]]

    def rows(self, operation, most=100):
        """All rows that are left, as lists of values."""
        rows = []
        while page := self.page(operation, most):
            rows += [[field["value"] for field in row] for row in page]
        return rows

    def run(self, statement, **more):
        """The rows of a statement that is waited for."""
        operation = self.begin(statement, runAsync=False, **more)
        rows = self.rows(operation, 1000)
        self.client.call("PUT", f"operations/{operation}", {"action": "close"})
        return rows

    def close(self):
        self.client.call("DELETE", f"sessions/{self.handle}")
