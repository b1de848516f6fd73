"""Stands in for a driver's Python when Berth itself is measured: its runner starts a stub driver instead of Spark.

`agent.python` names a wrapper that calls this. What the agent asks Python about PySpark is passed on to a real one;
the supervisor is the real one too.
"""

import json
import os
import runpy
import socket
import subprocess
import sys
import time

REAL = os.environ["BERTH_PYTHON"]
WRAPPER = os.environ["BERTH_STUB_PYTHON"]
STUB = os.environ["BERTH_LOADTEST"]


def supervise(arguments):
    sys.executable = WRAPPER
    sys.argv = arguments
    runpy.run_path(arguments[0], run_name="__main__")


def run(script, settings, link):
    """The runner's side of the control protocol: the stub's port is the driver's."""
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(script))))
    from berth_driver import frames

    with open(settings, encoding="utf-8") as file:
        token = json.load(file)["confs"]["spark.connect.authenticate.token"]
    stub = subprocess.Popen([STUB, "stub-driver", "--token", token], stdout=subprocess.PIPE, text=True)
    port = int(stub.stdout.readline().rsplit(":", 1)[1])
    channel = socket.socket(fileno=link)
    ready = {"t": "ready", "port": port, "jvm_pid": stub.pid, "spark_version": "4.3.0"}
    for frame in ({"t": "jvm", "pid": stub.pid}, ready):
        channel.sendall(frames.encode(frame))
    decoder = frames.Decoder()
    while data := channel.recv(1 << 16):
        for frame in decoder.feed(data):
            for answer in answers(frame):
                channel.sendall(frames.encode(answer))
    stub.kill()


def answers(frame):
    """To a statement: that it would begin, and, as soon as it may, the same result."""
    if frame["t"] == "run":
        yield {"t": "begin", "id": frame["id"]}
    elif frame["t"] == "go":
        now = time.time_ns() // 1_000_000
        yield {"t": "result", "id": frame["id"], "state": "ok", "output": {"text/plain": "2"}, "effects": [],
               "started_at": now, "finished_at": now}


def main():
    if sys.argv[1] == "-c":
        os.execv(REAL, [REAL, *sys.argv[1:]])
    arguments = sys.argv[2:]  # After -u.
    role = arguments[2] if len(arguments) > 2 else "supervisor"
    if role == "supervisor":
        supervise(arguments)
    elif role == "runner":
        run(arguments[0], arguments[1], int(arguments[3]))
    else:
        sys.exit(f"the stub has no {role}")


main()
