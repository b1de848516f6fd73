"""Sees what code does outside its driver: files that it writes, processes that it starts, sockets that it opens.

An audit hook sees the calls of the interpreter itself. What compiled extensions or executors do, it cannot see.
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
# Between the code that wants something and the call that does it.
PASSING = ("socket", "subprocess", "os", "shutil", "tempfile", "contextlib", "io", "pathlib", "selectors", "berth_driver")


class Observer:
    def __init__(self, *own):
        """Watches all threads but those of this program. Files below `own` are gone with the driver anyway."""
        self.own = tuple(os.path.realpath(each) + os.sep for each in own)
        self.own_threads = set()
        self.seen = None
        self.inside = threading.local()
        sys.addaudithook(self._hook)

    def exempt(self):
        """What the calling thread does is not the doing of a statement."""
        self.own_threads.add(threading.get_ident())

    def begin(self):
        self.seen = set()

    def end(self):
        """The effects since the beginning."""
        seen, self.seen = self.seen, None
        return seen or set()

    def _hook(self, event, args):
        if self.seen is None or threading.get_ident() in self.own_threads or getattr(self.inside, "yes", False):
            return
        self.inside.yes = True
        try:
            effect = self._effect(event, args)
            if effect and len(self.seen) < MAX_EFFECTS:
                self.seen.add(effect[:500])
        finally:
            self.inside.yes = False

    def _effect(self, event, args):
        if event == "open":
            path, mode, flags = args
            writes = (flags or 0) & WRITING or any(sign in (mode or "") for sign in "wax+")
            return self._file(path) if writes else None
        if event in CHANGES:
            return self._file(args[0])
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

    def _socket(self, address):
        host = address[0] if isinstance(address, tuple) else address
        if host in ("127.0.0.1", "::1", "localhost") and asked_by_spark():
            return None
        return f"socket:{host}"


def asked_by_spark():
    """True when PySpark or Py4J wants the call, to reach the driver's own JVM."""
    frame = sys._getframe(1)
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if name.split(".")[0] not in PASSING:
            return name.startswith(("py4j.", "pyspark."))
        frame = frame.f_back
    return False
