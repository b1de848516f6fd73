"""Clients in processes of their own, in whatever language, whose driver dies under them.

Each program is given a connection string and a query. It does the same things with its library and says so:

    built            a view is made, a conf is set          then it waits for a line
    state 4950 7     the sum of the view, the conf          what was built is read
    error NAME       the name of an analysis error
    streaming        the first rows of the query are there  then it waits for a line
    rows 400000      how many came, in order, no gap        then it waits for a line, and ends

They are sessions of one user on one driver, which is killed where they wait.
"""

import os
import queue
import signal
import subprocess
import sys
import threading
import time

SAID = ["built", "state 4950 7", "error TABLE_OR_VIEW_NOT_FOUND", "streaming", "rows 400000"]
WAITS = ("built", "streaming", "rows")
# Some 80 MB: more than lies in the buffers between a driver and a client that stopped reading.
ROWS = "select id, repeat('x', 200) as pad from range(400000)"
# Drivers of this profile are shared by the sessions of one user.
PROFILE = "together"
PATIENCE = 150


class Foreign:
    """A program, what it said, and how it ended."""

    def __init__(self, command, env=None):
        self.said, self.lines = [], queue.Queue()
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=sys.stderr, text=True,
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

    def exit_code(self):
        try:
            return self.process.wait(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            return "does not end"


def remote(up, user):
    return f"{up.url}/;user_id={user};x-berth-profile={PROFILE}"


def outlive_their_driver(up, user, commands):
    """Runs the programs side by side to their ends; answers each with what it said, and the epochs of the sessions.

    `commands` has for each name a command and an environment.
    """
    clients = {name: Foreign(*command) for name, command in commands.items()}
    try:
        meet(clients)
        kill_driver_of(up, user)
        go_on(clients)
        meet(clients)
        kill_driver_of(up, user)
        go_on(clients)
        meet(clients)
        epochs = [session["epoch"] for session in up.ask("sessions") if session["owner"] == user]
        go_on(clients)
        for client in clients.values():
            client.said.append(client.exit_code())
    finally:
        for client in clients.values():
            client.process.kill()
    return {name: client.said for name, client in clients.items()}, epochs


def meet(clients):
    deadline = time.monotonic() + PATIENCE
    for client in clients.values():
        client.until_it_waits(deadline)


def go_on(clients):
    for client in clients.values():
        client.go_on()


def kill_driver_of(up, user):
    """Kills the one driver of all sessions of a user."""
    (driver,) = {session["driver"] for session in up.ask("sessions") if session["owner"] == user}
    (pid,) = [row["jvm_pid"] for row in up.ask("drivers") if row["id"] == driver]
    os.kill(pid, signal.SIGKILL)
