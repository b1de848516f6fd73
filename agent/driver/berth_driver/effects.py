"""Sees what code does outside its driver: files that it writes, processes that it starts, sockets that it opens.

An audit hook sees the calls of the interpreter itself, and those of user code to the JVM through Py4J, which count
whatever they do there. What compiled extensions or executors do, it cannot see: once a client that is known to write
outside by itself is loaded, all code counts as having effects. Nor does it see what is sent over a connection that is
there already, or written to a database that is open: once code has one of its own, all that follows counts.
"""

import os
import sys
import threading

MAX_EFFECTS = 100
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES = {
    "os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod", "os.chown",
    "os.utime", "os.setxattr", "os.removexattr",
}
PROCESSES = {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty", "os.spawn", "os.kill"}
SOCKETS = {"socket.connect", "socket.sendto", "socket.sendmsg", "socket.bind"}
CONNECTING = SOCKETS | {"sqlite3.connect"}
# Calls of Java methods and constructors, and changes of fields, as Py4J's commands begin; raised by our own audit event.
GATEWAY = "berth.py4j"
JAVA_CALLS = ("c\n", "i\n", "S\n", "f\ns\n")
# Clients of databases and queues with sockets of their own, or that write files without Python.
UNSEEN_CLIENTS = (
    "psycopg2", "psycopg_binary", "psycopg_c", "psycopg", "confluent_kafka", "MySQLdb", "pyodbc", "cx_Oracle", "pymssql",
    "duckdb", "deltalake", "pycurl",
)
# The effect of code that may use a connection which was opened before it ran.
KEPT_CONNECTION = "client:kept connection"
LOOPBACK = ("127.0.0.1", "::1", "localhost")
# Between the code that wants something and the call that does it.
PASSING = ("socket", "subprocess", "os", "shutil", "tempfile", "contextlib", "io", "pathlib", "selectors", "berth_driver")
# What these ask of the JVM is Spark's work, whose writes are seen there; or this program's own.
TOLD = {"pyspark", "berth_driver", "delta", "graphframes", "sedona", "sparknlp", "synapse", "mleap", "pydeequ"}
# Between Py4J and the code that wants something of it.
WRAPPING = {"py4j", *getattr(sys, "stdlib_module_names", ("collections", "contextlib", "functools"))}


class Observer:
    def __init__(self, *own):
        """Watches all threads but those of this program. Files below `own` are gone with the driver anyway."""
        self.own = tuple(os.path.realpath(each) + os.sep for each in own)
        self.seen = None
        # Whether code has opened a connection, in a statement or between two; None before the first one begins.
        self.connected = None
        # What a statement may have done over a connection from before it.
        self.unseen = set()
        self.inside = threading.local()
        sys.addaudithook(self._hook)

    def exempt(self):
        """What the calling thread does is not the doing of a statement."""
        self.inside.yes = True

    def begin(self):
        self.connected = bool(self.connected)
        self.unseen = {KEPT_CONNECTION} if self.connected else set()
        self.seen = set()

    def end(self):
        """The effects since the beginning."""
        seen, self.seen = self.seen, None
        return seen or set()

    def _hook(self, event, args):
        seen = self.seen
        if seen is None and (self.connected is not False or event not in CONNECTING):
            return
        if getattr(self.inside, "yes", False):
            return
        self.inside.yes = True
        try:
            effect = self._effect(event, args)
            if effect and event in CONNECTING and not is_probe(event, effect):
                self.connected = True
            if effect and seen is not None and len(seen) < MAX_EFFECTS:
                seen.add(effect[:500])
        finally:
            self.inside.yes = False

    def _effect(self, event, args):
        if event == GATEWAY:
            return java_call(args[0]) if asked_by_code() else None
        if event == "open":
            path, mode, flags = args
            writes = (flags or 0) & WRITING or any(sign in (mode or "") for sign in "wax+")
            return self._file(path) if writes else None
        if event in CHANGES:
            return self._file(args[0])
        if event == "sqlite3.connect":
            return self._database(os.fsdecode(args[0]))
        if event in PROCESSES:
            return f"process:{args[0] if args else event}"
        if event in SOCKETS and len(args) > 1:
            return self._socket(args[1])
        return None

    def _file(self, path):
        if isinstance(path, int):
            return None
        real = os.path.realpath(os.fsdecode(path))
        ours = (real + os.sep).startswith(self.own) or real == os.devnull
        return None if ours else f"file:{real}"

    def _database(self, name):
        if name in ("", ":memory:") or name.startswith("file::memory:") or "mode=memory" in name:
            return None
        return self._file(name.removeprefix("file:").split("?")[0] if name.startswith("file:") else name)

    def _socket(self, address):
        host = address[0] if isinstance(address, tuple) else address
        if (host in LOOPBACK or not isinstance(address, tuple)) and asked_by_spark():
            return None
        return f"socket:{host}"


def is_probe(event, effect):
    """True of a server for this machine alone: urllib3 makes one when it is loaded, to see whether there is IPv6."""
    return event == "socket.bind" and effect.removeprefix("socket:") in LOOPBACK


def asked_by_spark():
    """True when PySpark or Py4J wants the call, to reach the driver's own JVM."""
    frame = sys._getframe(1)
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if name.split(".")[0] not in PASSING:
            return name.startswith(("py4j.", "pyspark."))
        frame = frame.f_back
    return False


def asked_by_code():
    """True when the call to the JVM that is about to be made is wanted by neither PySpark nor this program."""
    frame = sys._getframe(1)
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if name != __name__ and name.split(".")[0] not in WRAPPING:
            return name.split(".")[0] not in TOLD
        frame = frame.f_back
    return True


def java_call(command):
    """What Py4J is about to call: the class, where the command names it, and the method."""
    kind, target, name = (command.split("\n", 3) + ["", ""])[:3]
    target, name = (target, "new") if kind == "i" else (target, name)
    return f"jvm:{target.removeprefix('z:')}.{name}" if kind == "i" or target.startswith("z:") else f"jvm:{name}"


def watch_gateway():
    """Has Py4J tell the audit hook of each call to the JVM."""
    from py4j import java_gateway

    send = java_gateway.GatewayClient.send_command

    def send_command(self, command, *args, **kwargs):
        if command.startswith(JAVA_CALLS):
            sys.audit(GATEWAY, command)
        return send(self, command, *args, **kwargs)

    java_gateway.GatewayClient.send_command = send_command


def unseen_clients():
    """Effects of code that may use what nobody sees."""
    return {f"client:{name}" for name in UNSEEN_CLIENTS if name in sys.modules}
