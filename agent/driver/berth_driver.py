"""The driver host: one process beside one Spark driver JVM.

Started by the agent with the path of a settings file. It starts a SparkContext that serves Spark Connect on a
loopback port, reports to the agent over a Unix socket, runs code statements, and kills its JVM when the fence
deadline passes, whatever else happens: the agent renews the deadline while it surely holds the node's lease.

Needs the standard library and PySpark. Protocol: docs/reference/agent-protocol.md.
"""

import json
import os
import signal
import socket
import struct
import sys
import threading
import time

PROTOCOL = 1
RECONNECT_SECONDS = 0.25
MAX_FRAME_BYTES = 64 << 20


def boot_millis():
    """Milliseconds since boot, suspended time included: the clock that fences are measured with."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


class Fence:
    """Ends the driver when the deadline that the agent last gave has passed."""

    def __init__(self, deadline_millis):
        self.deadline_millis = deadline_millis
        self.jvm_pid = None
        threading.Thread(target=self._watch, name="fence", daemon=True).start()

    def renew(self, deadline_millis):
        self.deadline_millis = max(self.deadline_millis, deadline_millis)

    def _watch(self):
        while boot_millis() < self.deadline_millis:
            left = (self.deadline_millis - boot_millis()) / 1000
            time.sleep(min(max(left, 0.01), 0.2))
        end_now(self.jvm_pid, "the node's lease is not renewed any more")


def end_now(jvm_pid, reason):
    """Kills the JVM and this process. Nothing of the session's epoch runs here afterwards."""
    print(f"berth: ending the driver: {reason}", flush=True)
    if jvm_pid is not None:
        try:
            os.kill(jvm_pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    os._exit(3)


class Link:
    """The control channel: length-prefixed JSON frames over the agent's socket; reconnects when the agent restarts."""

    def __init__(self, settings):
        self.settings = settings
        self.sending = threading.Lock()
        self.socket = None
        self.ready = None

    def connect(self):
        while True:
            link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                link.connect(self.settings["socket"])
                break
            except OSError:
                link.close()
                time.sleep(RECONNECT_SECONDS)
        with self.sending:
            self.socket = link
        self.send({"t": "hello", "v": PROTOCOL, "driver": self.settings["driver"], "secret": self.settings["secret"]})
        if self.ready is not None:
            self.send(self.ready)

    def send(self, frame):
        data = json.dumps(frame).encode()
        with self.sending:
            try:
                self.socket.sendall(struct.pack(">I", len(data)) + data)
            except OSError:
                pass  # The reader notices and connects again; what must be known is sent again after that.

    def frames(self):
        """Every frame that the agent sends, for ever."""
        while True:
            frame = self._receive()
            if frame is None:
                self.connect()
            else:
                yield frame

    def _receive(self):
        try:
            (length,) = struct.unpack(">I", self._exactly(4))
            if length > MAX_FRAME_BYTES:
                return None
            return json.loads(self._exactly(length))
        except (OSError, EOFError):
            return None

    def _exactly(self, count):
        data = b""
        while len(data) < count:
            part = self.socket.recv(count - len(data))
            if not part:
                raise EOFError
            data += part
        return data


def start_spark(settings, link):
    """Starts the JVM with the Spark Connect service on a port of its own."""
    link.send({"t": "phase", "phase": "jvm"})
    from pyspark import SparkConf, SparkContext

    conf = SparkConf(loadDefaults=False)
    for key, value in settings["confs"].items():
        conf.set(key, value)
    context = SparkContext(conf=conf)
    jvm = context._jvm
    loader = jvm.java.lang.Thread.currentThread().getContextClassLoader()
    name = "org.apache.spark.sql.connect.service.SparkConnectService$"
    service = jvm.java.lang.Class.forName(name, True, loader).getField("MODULE$").get(None)
    return context, service.localPort()


def warm_up(settings, port):
    """Runs a query and a Python function, so that a session's first statement does not pay for class loading."""
    from pyspark.sql import SparkSession

    url = f"sc://localhost:{port}/;token={settings['token']};use_ssl=false"
    session = SparkSession.builder.remote(url).create()
    session.sql("select id, id * 2 as twice from range(10)").collect()
    session.createDataFrame([(1, "a")], ["n", "s"]).collect()
    session.range(2).mapInPandas(lambda parts: parts, "id long").collect()
    session.stop()


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        settings = json.load(file)
    fence = Fence(settings["fence_deadline_millis"])
    link = Link(settings)
    link.connect()
    reader = threading.Thread(target=serve, args=(link, fence), name="control", daemon=True)
    reader.start()
    context, port = start_spark(settings, link)
    jvm = context._gateway.proc
    fence.jvm_pid = jvm.pid
    if settings["warm_up"]:
        link.send({"t": "phase", "phase": "warming"})
        warm_up(settings, port)
    link.ready = {"t": "ready", "port": port, "jvm_pid": jvm.pid, "spark_version": context.version}
    link.send(link.ready)
    jvm.wait()
    end_now(None, f"the JVM ended with {jvm.returncode}")


def serve(link, fence):
    for frame in link.frames():
        if frame["t"] == "fence":
            fence.renew(frame["deadline_millis"])
        elif frame["t"] == "stop":
            end_now(fence.jvm_pid, "stopped by the agent")


if __name__ == "__main__":
    main()
