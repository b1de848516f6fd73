"""The runner of a batch: submits one application with Spark's own spark-submit and tells how it ended.

Like code, the application begins only when the agent allows it, so that what was not allowed surely never ran. It is
a group of processes of its own, whose output goes to the driver's log.
"""

import importlib.metadata
import importlib.util
import json
import os
import queue
import signal
import subprocess
import sys
import threading

from berth_driver import processes
from berth_driver.runner import GO_SECONDS, Channel, unix_millis

# Time for Spark to end orderly before the application is killed.
GRACE_SECONDS = 10
# As much of the log's end is told with the application's.
LOG_LINES = 200
LOG_BYTES = 32 << 10
# Signals that somebody sends who wants the application to end.
ENDING = (signal.SIGTERM, signal.SIGKILL, signal.SIGINT, signal.SIGHUP)


class Batch:
    def __init__(self, settings, channel):
        self.settings = settings
        self.channel = channel
        self.lock = threading.Lock()
        self.frames = queue.SimpleQueue()
        self.given = None
        self.result = None
        self.process = None
        self.allowed = threading.Event()
        self.cancelled = threading.Event()

    def ready(self):
        version = importlib.metadata.version("pyspark")
        self.channel.send({"t": "ready", "port": 0, "jvm_pid": os.getpid(), "spark_version": version})

    def listen(self):
        """Takes what the agent asks for, on a thread of its own."""
        for frame in self.channel.frames():
            if frame["t"] == "run":
                self.take(frame)
            elif frame["t"] == "go":
                self.allowed.set()
            elif frame["t"] == "cancel":
                self.cancel()
        os._exit(3)  # The supervisor is gone.

    def take(self, frame):
        """The first application is run; given again, its result is told again. There is no second one."""
        with self.lock:
            if self.given is None:
                self.given = frame["id"]
                self.frames.put(frame)
                return
            result = self.result
        if frame["id"] != self.given:
            self.channel.send({"t": "result", "id": frame["id"], "finished_at": unix_millis(), "state": "error",
                               "error_name": "NotRun", "error_value": "this place has its batch"})
        elif result is not None:
            self.channel.send(result)

    def cancel(self):
        with self.lock:
            first = not self.cancelled.is_set()
            self.cancelled.set()
            running = self.process
        if first and running is not None:
            threading.Thread(target=stop, args=(running,), name="stop", daemon=True).start()

    def run(self):
        frame = self.frames.get()
        while not self.allowed.is_set() and not self.cancelled.is_set():
            self.channel.send({"t": "begin", "id": frame["id"]})
            self.allowed.wait(GO_SECONDS)
        started = unix_millis()
        ended = self.submitted(frame, started)
        result = {"t": "result", "id": frame["id"], "started_at": started, "finished_at": unix_millis(), **ended}
        with self.lock:
            self.result = result
        self.channel.send(result)
        # The agent ends this place when the batch is over for everybody.
        threading.Event().wait()

    def submitted(self, frame, started):
        """Runs the application to its end."""
        try:
            what = located(json.loads(frame["code"]), self.settings["scratch"])
            with self.lock:
                if self.cancelled.is_set():
                    return {"state": "cancelled"}
                self.process = self.start(what)
        except (OSError, ValueError, KeyError, TypeError) as error:
            return {"state": "error", "error_name": "NotStarted", "error_value": f"{type(error).__name__}: {error}"}
        self.channel.send({"t": "progress", "id": frame["id"], "progress": 0.0, "started_at": started})
        status = self.process.wait()
        self.end_rest()
        return {**self.describe(status), "output": {"log": tail(self.settings["log"])}}

    def start(self, what):
        confs = merged(self.settings["confs"], what)
        path = os.path.join(os.path.dirname(self.settings["log"]), "batch.properties")
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="ascii") as file:
            file.write(properties(confs))
        home = spark_home()
        me = os.getpid()
        return subprocess.Popen(
            command(home, path, what), env=environment(home, confs), stdin=subprocess.DEVNULL,
            start_new_session=True, preexec_fn=lambda: become_application(me))

    def end_rest(self):
        """Kills what the application has left behind."""
        for pid in processes.marked(self.settings["driver"]):
            if pid != os.getppid():
                processes.kill(pid)

    def describe(self, status):
        number = -status if status < 0 else status - 128
        if self.cancelled.is_set():
            return {"state": "cancelled"}
        if status == 0:
            return {"state": "ok"}
        if number in ENDING:
            name = signal.Signals(number).name
            return {"state": "error", "error_name": "Killed", "error_value": f"the application was ended by {name}"}
        how = f"signal {number}" if status < 0 else f"exit code {status}"
        return {"state": "error", "error_name": "Failed", "error_value": f"the application ended with {how}"}


def become_application(parent):
    processes.die_with_parent(parent)
    # What this process ignores would stay ignored.
    for number in (signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)


def stop(process):
    """Asks the application's processes to end, and kills those that do not."""
    signal_group(process, signal.SIGTERM)
    try:
        process.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        signal_group(process, signal.SIGKILL)


def signal_group(process, number):
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        pass


def spark_home():
    """The Spark that drivers run: the one inside PySpark."""
    return importlib.util.find_spec("pyspark").submodule_search_locations[0]


def command(home, properties_path, what):
    """The words of the submission; no shell takes them apart."""
    words = [os.path.join(home, "bin", "spark-submit"), "--properties-file", properties_path]
    if what["class_name"]:
        words += ["--class", what["class_name"]]
    return [*words, what["file"], *what["args"]]


def environment(home, confs):
    env = {**os.environ, "SPARK_HOME": home, "PYSPARK_DRIVER_PYTHON": sys.executable, "PYTHONUNBUFFERED": "1"}
    if not confs["spark.master"].startswith("local"):
        # Executors on other machines have to reach the driver.
        env.pop("SPARK_LOCAL_IP", None)
    return env


def merged(confs, what):
    """The confs with the lists of the submission before their own."""
    lists = {"spark.jars": "jars", "spark.submit.pyFiles": "py_files", "spark.files": "files",
             "spark.archives": "archives"}
    # Of Spark's own messages only those that matter: the log's end is what is kept.
    confs = {"spark.log.level": "WARN", **confs, "spark.app.name": what["name"]}
    for conf, field in lists.items():
        items = [*what[field], *filter(None, [confs.get(conf)])]
        if items:
            confs[conf] = ",".join(items)
    return confs


def located(what, scratch):
    """The submission with the paths of the files that came with it, where the agent has put them."""
    def path_of(item):
        return item if isinstance(item, str) else os.path.join(scratch, "resources", item["sha256"], item["name"])

    lists = {field: list(map(path_of, what[field])) for field in ("jars", "py_files", "files", "archives")}
    return {**what, **lists, "file": path_of(what["file"])}


def properties(confs):
    """The confs as Java reads them from a file; every character that could mean something is escaped."""
    return "".join(f"{escaped(key)}={escaped(value)}\n" for key, value in sorted(confs.items()))


def escaped(text):
    def one(character):
        if character.isascii() and (character.isalnum() or character in "._-/,"):
            return character
        units = character.encode("utf-16-be")
        return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))

    return "".join(one(character) for character in text)


def tail(path):
    """The last lines of a log."""
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - LOG_BYTES))
        text = file.read().decode(errors="replace")
    lines = text.splitlines()
    # The first may be cut.
    return lines[1 if size > LOG_BYTES else 0:][-LOG_LINES:]


def main(settings):
    processes.die_with_parent(int(sys.argv[4]))
    # Signals of a terminal are for the agent to decide on.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    batch = Batch(settings, Channel(int(sys.argv[3])))
    threading.Thread(target=batch.listen, name="control", daemon=True).start()
    batch.ready()
    batch.run()
