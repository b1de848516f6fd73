"""The runner: owns the JVM and runs code statements, one at a time, on its main thread."""

import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time

from berth_driver import effects, frames, interpreter, interrupts, jobs, processes, resources, shells, spark
from berth_driver.failure import NO_TEXT, name_of, text_of

PROGRESS_SECONDS = 0.5
# An agent that was away is asked again whether a statement may begin.
GO_SECONDS = 0.5
# Code that catches its interrupts gets them again so often.
INTERRUPTS = 30
# After so many, what runs in the JVM is not asked any more but stopped.
PATIENT_INTERRUPTS = 3
# How long the end of a JVM that does not answer is waited for.
JVM_END_SECONDS = 5


class Channel:
    """Frames to and from the supervisor."""

    def __init__(self, number):
        self.socket = socket.socket(fileno=number)
        self.sending = threading.Lock()

    def send(self, frame):
        data = frames.encode(frame)
        with self.sending:
            self.socket.sendall(data)

    def frames(self):
        decoder = frames.Decoder()
        while data := self.socket.recv(1 << 16):
            yield from decoder.feed(data)


class Runner:
    def __init__(self, settings, channel):
        self.settings = settings
        self.channel = channel
        self.lock = threading.Lock()
        self.waiting = queue.SimpleQueue()
        # Every statement that was ever given to this driver: None until it has ended, then its result until the
        # agent has kept it. A statement that is given again is not run again.
        self.known = {}
        self.cancelled = set()
        self.running = None
        self.running_kind = ""
        # Open while code of a statement runs on the main thread.
        self.window = False
        self.side = queue.SimpleQueue()
        self.allowed = queue.SimpleQueue()
        self.observer = effects.Observer(settings["scratch"], settings["temporary"])
        # True once code has stopped Spark.
        self.stopped = False
        self.context = self.shells = self.commands = self.resources = self.jobs = self.state = None

    def start(self):
        self.channel.send({"t": "phase", "phase": "jvm"})
        # Where Spark finds the classes that code of Scala defines.
        classes = os.path.join(self.settings["scratch"], "classes")
        os.makedirs(classes, exist_ok=True)
        confs = {**self.settings["confs"], "spark.repl.class.outputDir": classes}
        self.context, port = spark.start(confs)
        jvm = self.context._gateway.proc
        self.channel.send({"t": "jvm", "pid": jvm.pid})
        if self.settings["warm_up"]:
            self.channel.send({"t": "phase", "phase": "warming"})
            spark.warm_up(port, self.settings["token"], self.settings["warm_up"])
        from pyspark.sql import SparkSession

        session = SparkSession(self.context)
        # Before its first query, which would settle it: threads keep the class loader that knows the REPL's classes.
        session.conf.set("spark.sql.artifact.isolation.alwaysApplyClassloader", "false")
        effects.watch_gateway()
        self.commands = spark.Commands(session)
        # Of all sessions of this driver.
        self.state = session._jsparkSession.sharedState()
        self.shells = shells.Shells(self.context, session, classes)
        self.resources = resources.Resources(self.context, self.shells.scala, self.settings["scratch"])
        self.jobs = jobs.Jobs(session, self.settings["scratch"])
        interrupts.watch(self.context, self.observer, self.settings.get("unread_seconds", interrupts.UNREAD_SECONDS))
        signal.signal(signal.SIGINT, self.interrupted)
        self.channel.send({"t": "ready", "port": port, "jvm_pid": jvm.pid, "spark_version": self.context.version,
                           "app_id": self.context.applicationId, "ui_url": self.context.uiWebUrl or ""})

    def interrupted(self, _signal, frame):
        # Raised where the window is opened and closed, it could leave it open for good.
        if self.window and self.running in self.cancelled and frame.f_code is not Runner.guarded.__code__:
            raise KeyboardInterrupt

    def listen(self):
        """Takes what the agent asks for. Runs on a thread of its own and never waits for code."""
        self.observer.exempt()
        for frame in self.channel.frames():
            if frame["t"] == "run":
                self.take(frame)
            elif frame["t"] == "go":
                self.allowed.put(frame["id"])
            elif frame["t"] == "cancel":
                self.cancel(frame["id"])
            elif frame["t"] == "kept":
                with self.lock:
                    self.known[frame["id"]] = {}
                if self.stopped:
                    os._exit(3)  # Nothing runs here any more, and the statement that stopped it is told.
            else:
                self.side.put(frame)
        os._exit(3)  # The supervisor is gone.

    def take(self, frame):
        with self.lock:
            if frame["id"] not in self.known:
                self.known[frame["id"]] = None
                self.waiting.put(frame)
                return
            result = self.known[frame["id"]]
        if result:
            self.channel.send(result)

    def cancel(self, statement):
        with self.lock:
            ended = self.known.get(statement, {}) is not None
            if ended or statement in self.cancelled:
                return
            self.cancelled.add(statement)
            waits = self.running != statement
        if waits:
            self.finish(statement, {"state": "cancelled"})
        else:
            threading.Thread(target=self.interrupt, args=(statement,), name="interrupt", daemon=True).start()

    def interrupt(self, statement):
        self.observer.exempt()
        for attempt in range(INTERRUPTS):
            self.context.cancelJobGroup(group_of(statement))
            # Nothing else can begin meanwhile, and be hit.
            with self.lock:
                if self.running != statement:
                    return
                in_jvm = self.shells.interrupt(self.running_kind, attempt >= PATIENT_INTERRUPTS)
                if not in_jvm:
                    signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
            time.sleep(1)

    def finish(self, statement, result):
        result = sendable({"t": "result", "id": statement, "finished_at": unix_millis(), **result})
        with self.lock:
            if self.known.get(statement) is not None:
                return
            self.known[statement] = result
        self.channel.send(result)

    def wait_for_go(self, statement):
        """Asks the agent until it allows the statement to begin: what it has not allowed surely never ran."""
        if self.stopped or self.context._gateway.proc.poll() is not None:
            # Spark is gone and the supervisor about to see it: the statement is the next driver's.
            os._exit(3)
        while True:
            self.channel.send({"t": "begin", "id": statement})
            try:
                while self.allowed.get(timeout=GO_SECONDS) != statement:
                    pass
                return
            except queue.Empty:
                pass

    def run(self):
        """Runs what was asked for, for ever."""
        while True:
            frame = self.waiting.get()
            statement = frame["id"]
            with self.lock:
                if self.known[statement] is not None:
                    continue
                self.running, self.running_kind = statement, frame["kind"]
            self.wait_for_go(statement)
            started = unix_millis()
            self.channel.send({"t": "progress", "id": statement, "progress": 0.0, "started_at": started})
            result = self.observed(statement, frame)
            if result["state"] == "error" and self.jvm_is_gone():
                os._exit(3)  # The error is the loss itself, and the agent's to judge.
            with self.lock:
                self.running = None
                self.cancelled.discard(statement)
            self.finish(statement, {**result, "started_at": started})

    def jvm_is_gone(self):
        try:
            self.context._jvm.System.nanoTime()
            return False
        except Exception:
            pass  # Its socket closes before its end can be waited for.
        try:
            self.context._gateway.proc.wait(JVM_END_SECONDS)
            return True
        except subprocess.TimeoutExpired:
            return False

    def observed(self, statement, frame):
        if frame["kind"] == "add":
            # Done again on every driver that the session gets: what it does is no effect of code.
            return {**self.guarded(statement, frame), "effects": []}
        group = group_of(statement)
        self.commands.mark()
        # Tasks that are cancelled are interrupted: they would keep the session's cores.
        self.context.setJobGroup(group, "Berth statement", True)
        watch = self.shells.watch(frame["kind"], frame["code"])
        self.observer.begin()
        result = self.guarded(statement, frame)
        seen = self.observer.end() | self.shells.effects(frame["kind"])
        if frame["kind"] == "job":
            seen |= self.jobs.unseen
        if frame["kind"] in ("pyspark", "job"):
            seen |= effects.unseen_clients() | self.observer.unseen
        self.stopped = self.has_stopped()
        if self.stopped:
            # At every driver that ran it again, too.
            seen.add("spark:stopped")
        try:
            seen |= self.commands.since_mark()
        except Exception as error:  # What cannot be seen counts as an effect.
            seen.add(f"spark:unknown ({type(error).__name__})")
        result = {**result, "effects": sorted(seen)}
        if watch and (seen or result["state"] == "cancelled"):
            # It is not run again: what it made of variables is kept instead.
            result["snapshot"] = self.snapshot(watch)
        return result

    def has_stopped(self):
        try:
            return self.context._jsc is None or self.context._jsc.sc().isStopped()
        except Exception:  # The JVM is gone, which is seen elsewhere.
            return False

    def snapshot(self, watch):
        try:
            return watch.snapshot()
        except BaseException as error:  # Code of the user's runs while its values are copied.
            return nothing_kept(name_of(error))

    def guarded(self, statement, frame):
        """Runs code between the instants at which it may be interrupted."""
        try:
            try:
                # An interrupt would tear the connection to code in the JVM.
                self.window = frame["kind"] != "spark"
                return self.outcome(statement, frame)
            finally:
                self.window = False
        except BaseException as error:  # An error that cannot even be described, or an interrupt while it was.
            if statement in self.cancelled:
                return {"state": "cancelled"}
            return {"state": "error", "error_name": name_of(error), "error_value": NO_TEXT, "traceback": []}

    def outcome(self, statement, frame):
        """Runs code and tells how it ended. Code of the user's describes an error, so the window is still open."""
        try:
            return {"state": "ok", "output": self.execute(frame["kind"], frame["code"])}
        except BaseException as error:  # SystemExit of a statement is not the end of its session.
            if statement in self.cancelled:
                return {"state": "cancelled"}
            describe = jobs.describe_error if frame["kind"] == "job" else interpreter.describe_error
            name, value, trace = describe(error)
            return {"state": "error", "error_name": name, "error_value": value, "traceback": trace}

    def execute(self, kind, code):
        if kind == "add":
            return self.resources.add(code)
        if kind == "job":
            return self.jobs.run(code)
        return self.shells.run(kind, code)

    def report_progress(self):
        self.observer.exempt()
        told, streams = None, False
        while True:
            time.sleep(PROGRESS_SECONDS)
            streams = self.report_streams(streams)
            statement = self.running
            if statement is None:
                continue
            try:
                now = (statement, spark.progress(self.context, group_of(statement)))
            except Exception:  # Its code stops Spark just now, or the JVM is gone: both are seen elsewhere.
                continue
            if now != told:
                self.channel.send({"t": "progress", "id": statement, "progress": now[1]})
            told = now

    def report_streams(self, told):
        """Says whether streaming queries run: they use the driver although nobody asks it for anything."""
        try:
            active = not self.state.activeStreamingQueries().isEmpty()
        except Exception:  # The JVM is gone, and the supervisor about to see it, or Spark has it elsewhere.
            return told
        if active != told:
            self.channel.send({"t": "streams", "active": active})
        return active

    def serve_side(self):
        """Answers calls that are no statements."""
        self.observer.exempt()
        while True:
            frame = self.side.get()
            answer = {"t": "answer", "call": frame["call"]}
            try:
                if frame["t"] == "complete":
                    answer["candidates"] = self.shells.complete(frame["kind"], frame["code"], frame["cursor"])
                elif frame["t"] == "release":
                    spark.close_connect_session(self.context, frame["session"])
            except BaseException as error:  # Code of the user's runs while names are looked for.
                answer["error"] = f"{name_of(error)}: {text_of(error)}"
            self.channel.send(answer)


def sendable(result):
    """The result, or an error in its place where the agent would not take it, and be sent it for ever."""
    problem = problem_of(result)
    if problem is None:
        return result
    # What the statement did outside, and what it made of variables, it did all the same.
    kept = {key: value for key, value in result.items() if key not in ("output", "traceback")}
    if kept["state"] != "cancelled":
        kept |= {"state": "error", "error_name": problem[0], "error_value": problem[1], "traceback": []}
    if "snapshot" in kept and problem_of(kept):
        kept["snapshot"] = nothing_kept(problem[0])
    return kept


def problem_of(result):
    """Name and text of the error that a result is because it cannot be sent; None if it can."""
    try:
        frames.check(result)
        return None
    except frames.TooLong as error:
        return "OutputTooLarge", str(error)
    except (TypeError, ValueError, RecursionError) as error:
        reason = f"the output cannot be sent as JSON: {error}"
        return "OutputNotJson", f"{reason}; show a part of it, or print it as text"


def nothing_kept(reason):
    """A snapshot that says that no variable is in it."""
    return {"data": "", "names": [], "lost": [f"variables ({reason})"]}


def group_of(statement):
    return f"berth-{statement}"


def unix_millis():
    return time.time_ns() // 1_000_000


def main(settings):
    processes.die_with_parent(int(sys.argv[4]))
    # Signals of a terminal are for the agent to decide on.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.dont_write_bytecode = True
    runner = Runner(settings, Channel(int(sys.argv[3])))
    del sys.argv[1:]
    threading.Thread(target=runner.listen, name="control", daemon=True).start()
    runner.start()
    threading.Thread(target=runner.serve_side, name="side", daemon=True).start()
    threading.Thread(target=runner.report_progress, name="progress", daemon=True).start()
    runner.run()
