"""A plain client of Livy's batches: JSON over HTTP."""

import json
import urllib.error
import urllib.request
from pathlib import Path

from berth_up import wait_until

FINAL = ("success", "dead", "killed", "error")


class LivyBatch:
    def __init__(self, address, file, **request):
        self.base = f"http://{address}/batches"
        self.seen = set()
        self.created = call("POST", self.base, {"file": str(file), **request})
        self.id = self.created["id"]
        self.url = f"{self.base}/{self.id}"

    def state(self):
        state = call("GET", f"{self.url}/state")["state"]
        self.seen.add(state)
        return state

    def log(self, start=0, size=-1):
        return call("GET", f"{self.url}/log?from={start}&size={size}")["log"]

    def wait(self, state, seconds=180):
        """Waits for a state; fails at once when the batch has ended in another one."""
        def look():
            now = self.state()
            assert now == state or now not in FINAL, f"{now}: {self.log()}"
            return now == state
        wait_until(look, seconds, f"batch {self.id} does not get {state}: {self.seen}")
        return self

    def delete(self):
        return call("DELETE", self.url)


def call(method, url, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read())


def refusal(method, url, body=None):
    """Status and message of a call that is refused."""
    try:
        return 200, call(method, url, body)
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())["msg"]


def marked(driver):
    """The processes of a driver, by the mark that all of them carry."""
    wanted, found = f"BERTH_DRIVER_ID={driver}".encode(), []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and wanted in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
        except OSError:
            pass  # It has ended, or is not ours.
    return found


# Says that it runs, then waits until it may go on; a file is left by each run.
HELD = """
import os, sys, time, uuid
from pyspark.sql import SparkSession
spark = SparkSession.builder.getOrCreate()
directory = sys.argv[1]
open(os.path.join(directory, "run-" + uuid.uuid4().hex), "w").close()
while not os.path.exists(os.path.join(directory, "go")):
    time.sleep(0.1)
print("sum", spark.range(10).selectExpr("sum(id)").first()[0])
"""


class Held:
    """An application that is held until it is let go, and the runs that it had."""

    def __init__(self, directory: Path):
        self.directory = directory
        self.file = directory / "held.py"
        self.file.write_text(HELD)

    def runs(self):
        return len(list(self.directory.glob("run-*")))

    def wait_for_run(self, number=1):
        wait_until(lambda: self.runs() >= number, 120, f"run {number} does not begin")

    def go(self):
        (self.directory / "go").touch()
