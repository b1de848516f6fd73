"""Clients in processes of their own, in whatever language, whose driver dies under them.

Each program is given a connection string and a query. It does the same things with its library and says so:

    built            a view is made, a conf is set          then it waits for a line
    state 4950 7     the sum of the view, the conf          what was built is read
    error NAME       the name of an analysis error
    streaming        the first rows of the query are there  then it waits for a line
    rows 150000      how many came, in order, no gap        then it waits for a line, and ends

They are sessions on one driver, which is killed where they wait.
"""

import os
import queue
import signal
import subprocess
import tempfile
import threading
import time

from berth_up import wait_until

SAID = ["built", "state 4950 7", "error TABLE_OR_VIEW_NOT_FOUND", "streaming", "rows 150000", "ended"]
WAITS = ("built", "streaming", "rows")
# Some 30 MB: more than lies in the buffers between a driver and a client that stopped reading.
ROWS = "select id, repeat('x', 200) as pad from range(0, 150000, 1, 8)"
RERUN = 'berth_statements_rerun_total{class="read",delivered="some"}'
# The sessions of a tenant share a driver of this profile.
PROFILE = "together"
PATIENCE = 150


class Foreign:
    """A program, what it said, and how it ended."""

    def __init__(self, command, env=None):
        self.said, self.lines = [], queue.Queue()
        self.errors = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True,
            env={**os.environ, **(env or {})})
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.put(line.strip())
        self.lines.put(None)

    def until_it_waits(self, deadline):
        """Reads what it says up to where it waits, or ends."""
        while (line := self._line(deadline)) is not None:
            self.said.append(line)
            if line.startswith(WAITS):
                return

    def _line(self, deadline):
        try:
            return self.lines.get(timeout=max(0, deadline - time.monotonic()))
        except queue.Empty:
            return None

    def go_on(self):
        try:
            self.process.stdin.write("\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # It has ended; what it said tells.

    def ended(self):
        """How it ended: `ended`, or what it complained of."""
        try:
            code = self.process.wait(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            code = "still running"
        if code == 0:
            return "ended"
        self.errors.seek(0)
        return f"{code}: {self.errors.read().decode(errors='replace')[-3000:]}"


def remote(up, user=None):
    parameters = [f"x-berth-profile={PROFILE}", *([f"user_id={user}"] if user else [])]
    return f"{up.url}/;{';'.join(parameters)}"


def outlive_their_driver(up, commands, before_the_second=None):
    """Runs the programs side by side to their ends; answers each with what it said.

    `commands` has for each name a command and an environment. The second kill must interrupt a result of each; a
    function that is called just before can see to what the next driver finds.
    """
    clients = {name: Foreign(*command) for name, command in commands.items()}
    try:
        meet(clients)
        kill_their_driver(up, len(clients))
        go_on(clients)
        meet(clients)
        if before_the_second:
            before_the_second()
        kill_their_driver(up, len(clients))
        rerun = up.metric(RERUN)
        go_on(clients)
        meet(clients)
        rerun = up.metric(RERUN) - rerun
        go_on(clients)
        said = {name: [*client.said, client.ended()] for name, client in clients.items()}
    finally:
        for client in clients.values():
            client.process.kill()
    return said, rerun


def meet(clients):
    deadline = time.monotonic() + PATIENCE
    for client in clients.values():
        client.until_it_waits(deadline)


def go_on(clients):
    for client in clients.values():
        client.go_on()


def kill_their_driver(up, count):
    """Kills the one driver of all their sessions."""
    def shared():
        drivers = [row for row in up.ask("drivers") if row["profile"] == PROFILE]
        return len(drivers) == 1 and len(drivers[0]["sessions"]) == count and drivers[0]

    driver = wait_until(shared, 30, f"there is no one driver with {count} sessions")
    os.kill(driver["jvm_pid"], signal.SIGKILL)
