"""The supervisor: enforces the fence and links the runner with the agent.

It is one loop without threads and runs no user code, so nothing can keep it from killing the driver when the fence
deadline passes. The agent renews the deadline while it surely holds the node's lease.
"""

import os
import selectors
import signal
import socket
import subprocess
import sys
import time

from berth_driver import frames, processes

PROTOCOL = 1
LOOK_SECONDS = 0.1
BEAT_SECONDS = 2.0
RECONNECT_SECONDS = (0.1, 2.0)
# The agent keeps what a driver may still have to run well below this.
MAX_BUFFER_BYTES = 64 << 20


class Link:
    """Frames over a socket that never blocks."""

    def __init__(self, link):
        link.setblocking(False)
        self.socket = link
        self.decoder = frames.Decoder()
        self.pending = bytearray()

    def send(self, frame):
        data = frames.encode(frame)
        if len(self.pending) + len(data) > MAX_BUFFER_BYTES:
            raise OSError("the other side does not read")
        self.pending += data
        self.flush()

    def flush(self):
        try:
            while self.pending:
                sent = self.socket.send(self.pending)
                del self.pending[:sent]
        except BlockingIOError:
            pass

    def receive(self):
        """The frames that have arrived. Raises when the other side is gone."""
        try:
            data = self.socket.recv(1 << 16)
        except BlockingIOError:
            return []
        if not data:
            raise OSError("closed")
        return self.decoder.feed(data)


class Supervisor:
    def __init__(self, settings):
        self.settings = settings
        self.deadline = settings["fence_deadline_millis"]
        self.selector = selectors.DefaultSelector()
        self.agent = None
        self.backoff = RECONNECT_SECONDS[0]
        self.connect_at = self.beat_at = time.monotonic()
        # What a new connection must hear first: the driver's phase.
        self.phase = {"t": "phase", "phase": "process"}
        self.jvm_pid = None
        self.streams = False
        self.runner, link = self.start_runner()
        self.from_runner = Link(link)
        self.selector.register(link, selectors.EVENT_READ, self.hear_runner)

    def start_runner(self):
        ours, theirs = socket.socketpair()
        script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "__main__.py")
        role = self.settings.get("role", "runner")
        command = [sys.executable, "-u", script, sys.argv[1], role, str(theirs.fileno()), str(os.getpid())]
        runner = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)
        theirs.close()
        return runner, ours

    def run(self):
        while True:
            self.check_fence()
            self.keep_connected()
            self.beat()
            for key, events in self.selector.select(LOOK_SECONDS):
                # A machine that was suspended wakes up here: its deadline comes before whatever has arrived.
                self.check_fence()
                key.data(events)

    def check_fence(self):
        if processes.boot_millis() >= self.deadline:
            self.end("the node's lease is not renewed any more")

    def end(self, reason):
        """Kills the driver and this process. Nothing of the session's epoch runs here afterwards."""
        print(f"berth: ending the driver: {reason}", flush=True)
        if self.jvm_pid is not None:
            processes.kill(self.jvm_pid)
        processes.kill(self.runner.pid)
        processes.sweep(self.settings["driver"])
        os._exit(3)

    def keep_connected(self):
        if self.agent is not None or time.monotonic() < self.connect_at:
            return
        link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        link.settimeout(LOOK_SECONDS)
        try:
            link.connect(self.settings["socket"])
        except OSError:
            link.close()
            self.connect_at = time.monotonic() + self.backoff
            self.backoff = min(2 * self.backoff, RECONNECT_SECONDS[1])
            return
        self.backoff = RECONNECT_SECONDS[0]
        self.agent = Link(link)
        self.selector.register(link, selectors.EVENT_READ, self.hear_agent)
        hello = {"t": "hello", "v": PROTOCOL, "driver": self.settings["driver"], "secret": self.settings["secret"]}
        self.tell_agent(hello)
        self.tell_agent(self.phase)

    def disconnect(self):
        self.selector.unregister(self.agent.socket)
        self.agent.socket.close()
        self.agent = None
        self.connect_at = time.monotonic() + self.backoff

    def beat(self):
        if time.monotonic() >= self.beat_at:
            self.beat_at = time.monotonic() + BEAT_SECONDS
            self.tell_agent({"t": "beat", "busy": self.streams})

    def tell_agent(self, frame):
        """Sends a frame if there is an agent. A new agent asks again for what got lost."""
        if self.agent is None:
            return
        try:
            self.agent.send(frame)
        except OSError:
            self.disconnect()
            return
        self.watch_writing(self.agent, self.hear_agent)

    def watch_writing(self, link, hear):
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if link.pending else 0)
        self.selector.modify(link.socket, events, hear)

    def hear_agent(self, events):
        agent = self.agent
        if agent is None:
            # Another event of the same round has found it gone.
            return
        try:
            if events & selectors.EVENT_WRITE:
                agent.flush()
            self.watch_writing(agent, self.hear_agent)
            arrived = agent.receive() if events & selectors.EVENT_READ else []
        except (OSError, ValueError):
            self.disconnect()
            return
        for frame in arrived:
            self.obey(frame)

    def obey(self, frame):
        if frame["t"] == "fence":
            self.check_fence()
            self.deadline = max(self.deadline, frame["deadline_boot_ms"])
        elif frame["t"] == "stop":
            self.end("stopped by the agent")
        else:
            try:
                self.from_runner.send(frame)
            except OSError as error:
                self.end(f"the runner does not listen: {error}")
            self.watch_writing(self.from_runner, self.hear_runner)

    def hear_runner(self, events):
        link = self.from_runner
        try:
            if events & selectors.EVENT_WRITE:
                link.flush()
            self.watch_writing(link, self.hear_runner)
            arrived = link.receive() if events & selectors.EVENT_READ else []
        except (OSError, ValueError):
            self.end(f"the runner ended with {self.runner.poll()}")
        for frame in arrived:
            if frame["t"] == "jvm":
                self.watch_jvm(frame["pid"])
                continue
            if frame["t"] == "streams":
                self.streams = frame["active"]
                continue
            if frame["t"] in ("phase", "ready"):
                self.phase = frame
            self.tell_agent(frame)

    def watch_jvm(self, pid):
        self.jvm_pid = pid
        try:
            ended = os.pidfd_open(pid)
        except ProcessLookupError:
            self.end("the JVM ended")
        self.selector.register(ended, selectors.EVENT_READ, lambda _events: self.end("the JVM ended"))


def main(settings):
    # A hang-up of the terminal that the agent was started from is no reason to end.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    Supervisor(settings).run()
