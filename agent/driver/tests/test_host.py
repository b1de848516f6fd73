"""The driver host without Spark."""

import base64
import datetime
import json
import os
import pickle
import selectors
import socket
import sqlite3
import sys
import threading

import numpy
import pytest
from berth_driver import (
    effects, failure, frames, interpreter, jobs, processes, resources, rows, runner, spark, supervisor, text, variables)
from py4j import java_gateway
from pyspark import cloudpickle
from pyspark.ml.linalg import Matrices, Vectors, VectorUDT
from pyspark.sql import types


def test_frames_are_cut_from_any_pieces():
    data = frames.encode({"t": "a"}) + frames.encode({"t": "b", "x": "\u00e4" * 50})
    decoder, found = frames.Decoder(), []
    for at in range(0, len(data), 3):
        found += decoder.feed(data[at : at + 3])
    assert [frame["t"] for frame in found] == ["a", "b"]
    with pytest.raises(ValueError, match="is not one"):
        frames.Decoder().feed(b"\xff\xff\xff\xff")


def test_frames_have_no_halves_of_characters():
    """No reader but Python's own takes them."""
    sent = {"a\ud800": ["\ud83d\ude00", "\ufeffb\udc00c\ud800", "\U0001f600"], "t": "x"}
    data = frames.encode(sent)
    assert json.loads(data[4:].decode()) == {
        "a\ufffd": ["\U0001f600", "\ufeffb\ufffdc\ufffd", "\U0001f600"], "t": "x"}
    assert b"\\ud" not in data


def nested(levels):
    value = []
    for _ in range(levels - 1):
        value = [value]
    return value


RESULT = {"t": "result", "id": "s1", "state": "ok", "started_at": 1, "finished_at": 2, "effects": ["file:/x"]}


@pytest.mark.parametrize("value", [
    float("nan"), float("inf"), 10**309, -(10**309), 10**5000, nested(101), nested(100_000), {1, 2}, {(1, 2): 3},
], ids=["nan", "infinite", "large", "small", "huge", "nested", "deep", "set", "key"])
def test_a_result_that_the_agent_would_refuse_is_an_error(value):
    """Else it would be sent again, and refused, for ever."""
    kept = {**RESULT, "snapshot": {"data": "x", "names": ["a"], "lost": []}}
    sent = runner.sendable({**kept, "output": {"application/json": value}})
    assert sent["error_value"].startswith("the output cannot be sent as JSON: ")
    assert sent == {**kept, "state": "error", "error_name": "OutputNotJson", "error_value": sent["error_value"],
                    "traceback": []}
    frames.check(sent)


@pytest.mark.parametrize("value", [nested(98), 1e308, 2**64, -(2**63), True, None, {"": ()}])
def test_a_result_that_the_agent_takes_is_sent_as_it_is(value):
    result = {**RESULT, "output": {"application/json": value}}
    assert runner.sendable(result) is result


def test_a_result_that_is_too_long_keeps_what_is_not_its_output():
    long = "x" * frames.MAX_FRAME_BYTES
    sent = runner.sendable({**RESULT, "output": {"text/plain": long}})
    assert (sent["error_name"], sent["effects"], "output" in sent) == ("OutputTooLarge", ["file:/x"], False)
    sent = runner.sendable({**RESULT, "state": "cancelled", "snapshot": {"data": "", "names": [], "lost": [long]}})
    assert sent == {**RESULT, "state": "cancelled",
                    "snapshot": {"data": "", "names": [], "lost": ["variables (OutputTooLarge)"]}}


def broken(what):
    """An exception that cannot be asked for its text."""
    class Broken(Exception):
        def __str__(self):
            return what()

    return Broken("x")


def fail():
    raise RuntimeError("no text")


@pytest.mark.parametrize("what", [fail, lambda: 404], ids=["raises", "number"])
@pytest.mark.parametrize("describe", [interpreter.describe_error, jobs.describe_error])
def test_an_error_without_a_text_is_described_as_python_does(describe, what):
    name, text, trace = describe(broken(what))
    assert (name, text) == ("Broken", "<exception str() failed>")
    assert trace[-1].endswith("Broken: <exception str() failed>\n")
    assert str(rows.failure(broken(what))) == "<exception str() failed>"


def test_an_error_that_breaks_its_traceback_is_described(monkeypatch):
    monkeypatch.setattr(failure.traceback, "format_exception", lambda *_args, **_named: fail())
    assert interpreter.describe_error(ValueError("x")) == ("ValueError", "x", ["ValueError: x\n"])
    assert jobs.describe_error(ValueError("x")) == ("ValueError", "x", ["ValueError: x\n"])


class Numbered(type):
    __name__ = 404


def test_the_name_of_an_error_is_text():
    assert interpreter.describe_error(Numbered("Odd", (Exception,), {})("x"))[:2] == ("Odd", "x")


def guarding(execute):
    """A runner that runs statements like this; the first is `s1`."""
    made = runner.Runner.__new__(runner.Runner)
    made.window, made.running, made.cancelled = False, "s1", set()
    made.execute = lambda kind, code: execute(made)
    return made


def raising(error):
    def execute(_made):
        raise error

    return execute


def test_an_error_that_cannot_be_described_is_one_all_the_same():
    made = guarding(raising(broken(sys.exit)))
    assert made.guarded("s1", {"kind": "pyspark", "code": ""}) == {
        "state": "error", "error_name": "SystemExit", "error_value": "<exception str() failed>", "traceback": []}
    assert not made.window


def test_what_describes_an_error_can_be_cancelled():
    """Its text is made by code of the user's, which may never end."""
    def endless():
        made.cancelled.add("s1")
        made.interrupted(2, sys._getframe())

    made = guarding(raising(broken(endless)))
    assert made.guarded("s1", {"kind": "pyspark", "code": ""}) == {"state": "cancelled"}
    assert not made.window


@pytest.mark.parametrize(("caller", "state"), [(runner.Runner.outcome, "cancelled"), (runner.Runner.guarded, "ok")])
def test_nothing_is_interrupted_where_the_window_is_closed(caller, state):
    """Else it stayed open, and a later interrupt would end the runner."""
    def execute(made):
        made.cancelled.add("s1")
        frame = sys._getframe()
        while frame.f_code is not caller.__code__:
            frame = frame.f_back
        made.interrupted(2, frame)
        return {}

    assert guarding(execute).guarded("s1", {"kind": "pyspark", "code": ""})["state"] == state


class Ended(Exception):
    pass


def supervised(deadline):
    """A supervisor without processes, whose end is an exception."""
    made = supervisor.Supervisor.__new__(supervisor.Supervisor)
    made.deadline = deadline

    def end(reason):
        raise Ended(reason)

    made.end = end
    return made


def test_i1_a_fence_is_renewed_before_its_deadline_and_never_after():
    now = processes.boot_millis()
    made = supervised(now + 60_000)
    made.obey({"t": "fence", "deadline_boot_ms": now + 90_000})
    assert made.deadline == now + 90_000
    made.obey({"t": "fence", "deadline_boot_ms": now})
    assert made.deadline == now + 90_000
    late = supervised(now - 1)
    with pytest.raises(Ended, match="not renewed"):
        late.obey({"t": "fence", "deadline_boot_ms": now + 90_000})


def test_a_beat_says_whether_streaming_queries_run():
    """connect#79"""
    made, told = supervised(0), []
    made.tell_agent = told.append
    made.streams, made.beat_at = False, 0
    made.from_runner = Heard([{"t": "streams", "active": True}])
    made.watch_writing = lambda *_: None
    made.beat()
    made.hear_runner(selectors.EVENT_READ)
    made.beat_at = 0
    made.beat()
    assert told == [{"t": "beat", "busy": False}, {"t": "beat", "busy": True}]


class Heard:
    """A link on which these frames have arrived."""

    def __init__(self, arrived):
        self.arrived = arrived

    def receive(self):
        return self.arrived


def run(shell, code):
    return shell.run(code)["text/plain"]


@pytest.fixture
def shell():
    main = sys.modules["__main__"]
    yield interpreter.Interpreter({"given": 3})
    sys.modules["__main__"] = main


def test_the_last_expression_is_shown_after_what_was_printed(shell):
    assert run(shell, "print('a')\nx = given\nx + 1") == "a\n4"
    assert run(shell, "_ + x") == "7"
    assert run(shell, "None") == ""
    assert shell.complete("given.re", 8) == ["given.real"]


def test_endless_output_is_cut(shell):
    assert len(run(shell, "for _ in range(30): print('x' * 100000)")) == 30 * 100_001 - 1
    shown = run(shell, "for _ in range(300): print('x' * 100000)")
    assert shown.endswith("(output cut by Berth)")
    assert len(shown) < 2 * text.MAX_TEXT


@pytest.mark.parametrize("whole", [
    "\U0001f600" * text.MAX_TEXT, "\u4e2d" * 4_000_000 + "x" * 4_000_000, "\x00" * 4_000_000,
], ids=["pairs", "mixed", "controls"])
def test_text_of_many_escapes_fits_into_a_frame(whole):
    shown = text.fitted(whole)
    assert shown.endswith("(output cut by Berth)") and whole.startswith(shown.removesuffix(text.CUT))
    assert text.MAX_ENCODED // 2 < len(frames.encode({"text": shown})) <= frames.MAX_FRAME_BYTES
    assert text.fitted("x" * text.MAX_TEXT) == "x" * text.MAX_TEXT


def test_an_error_shows_the_code_and_not_this_program(shell):
    with pytest.raises(ZeroDivisionError) as raised:
        shell.run("def f():\n    return 1/0\nf()")
    name, text, trace = interpreter.describe_error(raised.value)
    assert (name, text) == ("ZeroDivisionError", "division by zero")
    assert "return 1/0" in "".join(trace)
    assert "interpreter.py" not in "".join(trace)


def test_magics_stand_between_lines_of_code(shell):
    bundle = shell.run("rows = [[1, 'a'], [None, 'b']]\n%table rows")
    table = bundle["application/vnd.livy.table.v1+json"]
    assert [header["type"] for header in table["headers"]] == ["INT_TYPE", "STRING_TYPE"]
    assert shell.run("%json rows")["application/json"] == [[1, "a"], [None, "b"]]
    with pytest.raises(failure.Failure, match="unknown magic command 'x'"):
        shell.run("%x rows")
    with pytest.raises(SyntaxError):
        shell.run("def f(:")


def test_code_that_cannot_be_read_does_nothing(shell):
    """Whatever magics stand between its lines, and whether the parser or the compiler refuses it"""
    for code in ("done = 1\n%json done\ndef (:", "done = 1\n%json done\nreturn", "done = 1\n%json done\nyield",
                 "done = 1\n(yield)"):
        with pytest.raises(SyntaxError) as raised:
            shell.run(code)
        assert raised.value.lineno == code.count("\n") + 1
        assert "done" not in shell.names, code


def test_lines_between_magics_keep_their_numbers_and_characters(shell):
    assert shell.run("a = 'x\u2028y'\n%json a")["application/json"] == "x\u2028y"
    with pytest.raises(ZeroDivisionError) as raised:
        shell.run("a = 1\n\n%json a\n%json a\nb = 2\n1 / 0")
    assert "line 6, in <module>" in "".join(interpreter.describe_error(raised.value)[2])


def test_names_behind_a_percent_sign_are_mentioned():
    assert variables.mentioned("x = (a\n  % b.pop())") == {"x", "a", "b"}
    assert variables.mentioned("x = 1\n%json y\nz = x") == {"x", "z"}


def test_values_become_json():
    day = datetime.date(2020, 1, 2)
    assert rows.value_of({1: [day, b"\x01", float("nan")]}) == {"1": ["2020-01-02", "AQ==", "NaN"]}


def test_arrays_and_vectors_become_json():
    assert rows.value_of(numpy.array([[1, 2], [3, 4]])) == [[1, 2], [3, 4]]
    assert rows.value_of([numpy.array([1.5]), numpy.float32(0.5), numpy.bool_(True), numpy.array(7)]) == [
        [1.5], 0.5, True, 7]
    assert rows.value_of(numpy.array([float("nan"), 1.0])) == ["NaN", 1.0]
    assert rows.value_of(numpy.longdouble(1.5)) == "1.5"
    dense, sparse = DENSE, {"type": 0, "size": 1 << 18, "indices": [7], "values": [2.5]}
    assert rows.value_of([Vectors.dense([1.0, 2.0]), Vectors.sparse(1 << 18, {7: 2.5})]) == [dense, sparse]
    assert rows.value_of(Vectors.dense([3.0]))["values"] == [3.0]
    assert rows.value_of(Matrices.dense(1, 2, [1, 2]))["numCols"] == 2


DENSE = {"type": 1, "size": None, "indices": None, "values": [1.0, 2.0]}


def test_a_value_of_a_type_made_in_code_is_what_its_schema_says():
    kind = types.StructType([types.StructField("v", VectorUDT()), types.StructField("l", types.ArrayType(VectorUDT()))])
    vector = Vectors.dense([1.0, 2.0])
    assert rows.cell((vector, [vector, None]), kind) == {"v": DENSE, "l": [DENSE, None]}
    assert not rows.is_text(kind)


class SpanUDT(types.UserDefinedType):
    """Made of what Python cannot hold."""

    @classmethod
    def sqlType(cls):  # noqa: N802
        return types.StructType([types.StructField("s", types.YearMonthIntervalType())])

    def serialize(self, obj):
        return (obj,)


def test_a_type_made_of_what_python_cannot_hold_is_text():
    assert rows.is_text(types.ArrayType(SpanUDT()))


def test_plans_tell_their_outside_effects():
    assert spark.outside_effects("== Physical Plan ==\nExecute InsertIntoHadoopFsRelationCommand (2)") == {
        "spark:InsertIntoHadoopFsRelationCommand"
    }
    assert spark.outside_effects("Execute CreateViewCommand\n+- v, LocalTempView") == set()
    assert spark.outside_effects("Execute CreateViewCommand\n+- v, PersistedView") == {"spark:CreateViewCommand"}
    assert spark.outside_effects("Execute SetCommand") == set()
    assert spark.outside_effects("*(1) Range (0, 10)") == set()


def test_effects_of_code_are_seen_and_those_of_spark_are_not(tmp_path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    observer = effects.Observer(str(scratch))
    observer.begin()
    (tmp_path / "out").write_text("x")
    (scratch / "spill").write_text("x")
    (tmp_path / "out").read_text()
    os.remove(tmp_path / "out")
    with socket.socket() as closed, pytest.raises(OSError):
        closed.connect(("127.0.0.1", 1))
    other = threading.Thread(target=lambda: (observer.exempt(), (tmp_path / "own").write_text("x")))
    other.start()
    other.join()
    assert observer.end() == {f"file:{tmp_path}/out", "socket:127.0.0.1"}
    (tmp_path / "later").write_text("x")
    assert observer.end() == set()


def connect(module="__main__"):
    """Asks for connections that nobody takes, in the name of a module."""
    code = ("with socket.socket() as closed: closed.connect_ex(('127.0.0.1', 1))\n"
            "with socket.socket(socket.AF_UNIX) as closed: closed.connect_ex('/nowhere')")
    exec(code, {"__name__": module, "socket": socket})


def on_a_thread(*calls):
    thread = threading.Thread(target=lambda: [call() for call in calls])
    thread.start()
    thread.join()


def test_i3_all_that_follows_a_connection_counts(tmp_path):
    """Python tells of no bytes that go over one which is there."""
    observer = effects.Observer(str(tmp_path))
    observer.begin()
    connect()
    assert (observer.end(), observer.unseen) == ({"socket:127.0.0.1", "socket:/nowhere"}, set())
    for _ in range(2):
        observer.begin()
        assert (observer.end(), observer.unseen) == (set(), {"client:kept connection"})


def test_i3_a_database_that_stays_open_counts(tmp_path):
    observer = effects.Observer(str(tmp_path / "scratch"))
    observer.begin()
    kept = sqlite3.connect(tmp_path / "sales.db")
    observer.end()
    observer.begin()
    kept.execute("create table t (n int)")
    kept.close()
    assert (observer.end(), observer.unseen) == (set(), {"client:kept connection"})


def test_i3_a_connection_counts_behind_any_number_of_effects(tmp_path, monkeypatch):
    monkeypatch.setattr(effects, "MAX_EFFECTS", 0)
    observer = effects.Observer(str(tmp_path))
    observer.begin()
    connect()
    assert observer.end() == set()
    observer.begin()
    assert observer.unseen == {"client:kept connection"}


def test_i3_a_connection_between_statements_counts(tmp_path):
    observer = effects.Observer(str(tmp_path))
    observer.begin()
    observer.end()
    on_a_thread(connect)
    observer.begin()
    assert observer.unseen == {"client:kept connection"}


def test_connections_of_spark_and_of_the_driver_are_none_of_code(tmp_path):
    observer = effects.Observer(str(tmp_path / "scratch"))
    # Its own start.
    connect()
    for spark_connects in (lambda: connect("pyspark.util"), lambda: connect("py4j.clientserver")):
        observer.begin()
        spark_connects()
        sqlite3.connect(":memory:").close()
        (tmp_path / "out").write_text("x")
        assert observer.end() == {f"file:{tmp_path}/out"}
        spark_connects()
        on_a_thread(observer.exempt, connect)
        assert observer.unseen == set()
    observer.begin()
    assert observer.unseen == set()


def test_a_server_for_this_machine_alone_is_no_connection(tmp_path):
    """As urllib3 makes one when it is loaded"""
    observer = effects.Observer(str(tmp_path))
    observer.begin()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
    assert observer.end() == {"socket:127.0.0.1"}
    observer.begin()
    assert observer.unseen == set()
    with socket.socket() as server:
        server.bind(("0.0.0.0", 0))
    assert observer.end() == {"socket:0.0.0.0"}
    observer.begin()
    assert observer.unseen == {"client:kept connection"}


def test_a_thread_that_is_none_of_code_leaves_no_other_unwatched(tmp_path):
    """The system gives a new thread the number of one that has ended."""
    observer = effects.Observer(str(tmp_path))
    observer.begin()
    gone = []
    on_a_thread(observer.exempt, lambda: gone.append(threading.get_ident()))
    for _ in range(100):
        on_a_thread(lambda: threading.get_ident() in gone and connect())
    assert "socket:127.0.0.1" in observer.end()


def test_databases_in_files_are_seen_and_those_in_memory_are_none(tmp_path):
    observer = effects.Observer(str(tmp_path / "scratch"))
    observer.begin()
    for name, uri in ((":memory:", False), ("file::memory:?cache=shared", True), (tmp_path / "scratch" / "own", False)):
        try:
            sqlite3.connect(name, uri=uri).close()
        except sqlite3.OperationalError:
            pass
    assert observer.end() == set()
    observer.begin()
    sqlite3.connect(f"file:{tmp_path}/sales.db?mode=rwc", uri=True).close()
    assert observer.end() == {f"file:{tmp_path}/sales.db"}


def test_calls_of_code_to_the_jvm_are_effects_and_those_of_pyspark_are_not(monkeypatch):
    monkeypatch.setattr(java_gateway.GatewayClient, "send_command", lambda self, command: "!yv")
    effects.watch_gateway()
    client = java_gateway.GatewayClient.__new__(java_gateway.GatewayClient)
    observer = effects.Observer("/scratch")
    static, method, made = "c\nz:java.lang.System\nexit\ne\n", "c\no7\nsave\ne\n", "i\njava.io.FileWriter\ne\n"

    def seen(module, commands):
        observer.begin()
        exec("for each in commands: client.send_command(each)", {"__name__": module, "client": client, "commands": commands})
        return observer.end()

    assert seen("pyspark.sql.dataframe", [static, method, made]) == set()
    assert seen("berth_driver.scala", [static, method, made]) == set()
    assert seen("__main__", ["m\nd\no7\ne\n", "r\nu\njava\ne\n"]) == set()
    assert seen("__main__", [static, method, made]) == {
        "jvm:java.lang.System.exit", "jvm:save", "jvm:java.io.FileWriter.new"}


def test_code_beside_a_client_that_nobody_watches_counts(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg2", sys)
    assert effects.unseen_clients() == {"client:psycopg2"}


class Listed(list):
    """A sequence of Scala's."""

    def size(self):
        return len(self)

    def apply(self, at):
        return self[at]


class Ran:
    """An execution or a job."""

    def __init__(self, number, text):
        self.executionId = self.jobId = lambda: number
        self.physicalPlanDescription = self.name = lambda: text


class Status:
    """Spark's counters and stores: what ran, of which the latest are remembered."""

    def __init__(self, kept):
        self.kept, self.executions, self.started = kept, [], []

    def commands(self):
        made = spark.Commands.__new__(spark.Commands)
        made.bus = made.scheduler = made.jobs = made.executions = self
        made.counter = lambda: len(self.executions)
        made.mark()
        return made

    def run(self, plan, job="collect at <stdin>:1"):
        self.executions.append(Ran(len(self.executions), plan))
        self.started.append(Ran(len(self.started), job))

    def numTotalJobs(self):  # noqa: N802
        return len(self.started)

    def waitUntilEmpty(self, _millis):  # noqa: N802
        pass

    def executionsCount(self):  # noqa: N802
        return len(self.executions[-self.kept:])

    def executionsList(self, offset, count):  # noqa: N802
        return Listed(self.executions[-self.kept:][offset:offset + count])

    def jobsList(self, _states):  # noqa: N802
        return Listed(reversed(self.started[-self.kept:]))


def test_i3_a_write_is_found_behind_any_number_of_queries():
    status = Status(kept=1000)
    status.run("Execute SaveIntoDataSourceCommand")
    commands = status.commands()
    status.run("Execute InsertIntoHiveTable", job="runJob at SparkHadoopWriter.scala:83")
    for _ in range(450):
        status.run("*(1) Range (0, 10)")
    assert commands.since_mark() == {"spark:InsertIntoHiveTable", "spark:runJob@SparkHadoopWriter.scala"}
    commands.mark()
    for _ in range(450):
        status.run("*(1) Range (0, 10)")
    assert commands.since_mark() == set()


@pytest.mark.parametrize(("kept", "queries"), [(5000, 1001), (20, 21)])
def test_i3_what_ran_and_is_not_read_counts_as_an_effect(kept, queries):
    status = Status(kept)
    commands = status.commands()
    for _ in range(queries):
        status.run("*(1) Range (0, 10)")
    assert commands.since_mark() == {"spark:unknown (more ran than Spark remembers)"}


class Session:
    """What a job's context needs of a Spark session."""

    sparkContext = None


def test_jobs_share_objects_and_give_pickles(tmp_path, monkeypatch):
    """livy#84, #89"""
    monkeypatch.setattr(jobs.javajobs, "JavaJobs", lambda *_: None)
    ours = jobs.Jobs(Session(), str(tmp_path))

    def run(job):
        code = json.dumps({"type": "pyspark", "job": base64.b64encode(cloudpickle.dumps(job)).decode()})
        twice = base64.b64decode(base64.b64decode(ours.run(code)[jobs.RESULT]))
        return cloudpickle.loads(twice)

    assert run(lambda jc: jc.set_shared_object("n", 1)) is None
    assert run(lambda jc: jc.get_shared_object("n") + 1) == 2
    run(lambda jc: jc.delete_shared_object("n"))
    assert run(lambda jc: jc.get_shared_object("n")) is None
    for name in range(jobs.MAX_SHARED + 1):
        ours.context.set_shared_object(name, name)
    assert (ours.context.get_shared_object(0), ours.context.get_shared_object(1)) == (None, 1)
    directory = run(lambda jc: jc.local_tmp_dir)
    assert directory == run(lambda jc: jc.get_local_tmp_dir_path())
    assert os.path.dirname(directory) == str(tmp_path)
    with pytest.raises(ZeroDivisionError) as raised:
        run(lambda jc: 1 / 0)
    name, _, trace = jobs.describe_error(raised.value)
    assert name == "ZeroDivisionError"
    assert "jobs.py" not in "".join(trace)


def test_pickles_of_a_plain_cloudpickle_are_read():
    """Clients without PySpark have the library under its own name."""
    found = jobs.cloudpickle()
    assert sys.modules["cloudpickle"] is found
    # As such a client writes it: the module's name, then the function's.
    assert pickle.loads(b"\x80\x04\x8c\x17cloudpickle.cloudpickle\x8c\x05loads\x93.") is found.loads


class Context:
    """Takes files as a SparkContext does."""

    def __init__(self):
        self.added = []

    def addPyFile(self, path):  # noqa: N802
        self.added.append(("pyfile", path))

    def addFile(self, path):  # noqa: N802
        self.added.append(("file", path))


def test_resources_are_found_where_the_agent_put_them():
    """livy#87, #88"""
    context = Context()
    ours = resources.Resources(context, None, "/scratch")
    ours.add(json.dumps({"what": "pyfile", "name": "a.py", "sha256": "00", "chunks": ["11"]}))
    ours.add(json.dumps({"what": "file", "uri": "hdfs://nn/b"}))
    ours.add(json.dumps({"what": "file", "uri": "local:/opt/c"}))
    assert context.added == [("pyfile", "/scratch/resources/00/a.py"), ("file", "hdfs://nn/b"), ("file", "/opt/c")]
