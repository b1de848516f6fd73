"""Batches of a plain client of Kyuubi's REST API."""

import json
import uuid

from berth_up import wait_until

FINAL = ("FINISHED", "ERROR", "CANCELED")


class KyuubiBatch:
    """A batch that was submitted, at one of the brokers."""

    def __init__(self, client, created):
        self.client, self.created, self.id = client, created, created["id"]

    @classmethod
    def submit(cls, client, resource, kind="PYSPARK", **request):
        return cls(client, client.call("POST", "batches", {"batchType": kind, "resource": str(resource), **request}))

    def at(self, client):
        return KyuubiBatch(client, self.created)

    def shown(self):
        return self.client.call("GET", f"batches/{self.id}")

    def log(self, start=0, size=10_000):
        page = self.client.call("GET", f"batches/{self.id}/localLog?from={start}&size={size}")
        assert page["rowCount"] == len(page["logRowSet"])
        return page["logRowSet"]

    def wait(self, state, seconds=180):
        """Waits for a state; fails at once when the batch has ended in another one."""
        def look():
            shown = self.shown()
            now = shown["state"]
            assert now == state or now not in FINAL, (shown, self.log())
            return shown if now == state else None
        return wait_until(look, seconds, f"batch {self.id} does not get {state}")

    def cancel(self):
        return self.client.call("DELETE", f"batches/{self.id}")


def in_parts(client, request, files, media="application/json"):
    """Status and JSON of a submission in parts; `files` are contents by the names of their parts."""
    mark = uuid.uuid4().hex
    parts = [("batchRequest", None, media, json.dumps(request).encode())]
    parts += [(name, name if name != "resourceFile" else file_name, "application/octet-stream", data)
              for name, (file_name, data) in files.items()]
    body = b""
    for name, file_name, kind, data in parts:
        of_file = f'; filename="{file_name}"' if file_name else ""
        head = f'--{mark}\r\nContent-Disposition: form-data; name="{name}"{of_file}\r\nContent-Type: {kind}\r\n\r\n'
        body += head.encode() + data + b"\r\n"
    body += f"--{mark}--\r\n".encode()
    usual = client.headers["Content-Type"]
    client.headers["Content-Type"] = f"multipart/form-data; boundary={mark}"
    try:
        status, _, text = client.ask("POST", "batches", raw=body)
    finally:
        client.headers["Content-Type"] = usual
    return status, json.loads(text)
