"""The runner of batches without Spark: a shell script takes the place of spark-submit."""

import json
import os
import queue
import select
import signal
import threading

import pytest
from berth_driver import batch

WHAT = {"file": "/j/a.py", "class_name": None, "args": [], "name": "n",
        "jars": [], "py_files": [], "files": [], "archives": []}


class Agent:
    """The other end of the channel: allows what wants to begin, and keeps what is told."""

    def __init__(self):
        self.told, self.running, self.ended = queue.SimpleQueue(), threading.Event(), threading.Event()
        self.results = []

    def send(self, frame):
        if frame["t"] == "begin":
            self.made.allowed.set()
        elif frame["t"] == "progress":
            self.running.set()
        elif frame["t"] == "result":
            self.results.append(frame)
            self.ended.set()


@pytest.fixture
def begin(tmp_path, monkeypatch):
    """Runs a script as the application of a batch."""

    def make(script, **what):
        home = tmp_path / "spark"
        (home / "bin").mkdir(parents=True)
        submit = home / "bin" / "spark-submit"
        submit.write_text(f"#!/bin/bash\n{script}\n")
        submit.chmod(0o755)
        monkeypatch.setattr(batch, "spark_home", lambda: str(home))
        log = tmp_path / "driver.log"
        log.write_text("first\n")
        monkeypatch.setenv("BERTH_DRIVER_ID", f"test-{os.getpid()}-{tmp_path.name}")
        settings = {"log": str(log), "confs": {"spark.master": "local[1]"}, "driver": os.environ["BERTH_DRIVER_ID"],
                    "scratch": str(tmp_path)}
        agent = Agent()
        agent.made = batch.Batch(settings, agent)
        # Its application dies with the thread that starts it, which must outlive it.
        threading.Thread(target=agent.made.run, daemon=True).start()
        agent.made.take({"t": "run", "id": "s0", "code": json.dumps({**WHAT, **what})})
        return agent

    return make


def ended(agent):
    assert agent.ended.wait(30), "the batch does not end"
    return agent.results[0]


def has_ended(pid):
    """Whether a process ends; whoever adopted it may not have collected it yet."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return select.select([process], [], [], 30)[0] == [process]
    finally:
        os.close(process)


def test_words_reach_the_application_as_they_were_sent(begin, tmp_path):
    """livy#92: blanks, quotes and line ends in arguments"""
    args = ["a b", "it's", '"q"', "$HOME", "", "two\nlines", "--class"]
    agent = begin(f'printf "%s\\0" "$@" > {tmp_path}/words', args=args, class_name="a.B")
    assert ended(agent)["state"] == "ok"
    words = (tmp_path / "words").read_text().split("\0")[:-1]
    assert words[0] == "--properties-file"
    assert words[2:] == ["--class", "a.B", "/j/a.py", *args]


@pytest.mark.parametrize("script, name, value", [
    ("exit 3", "Failed", "exit code 3"), ("kill -KILL $$", "Killed", "SIGKILL"), ("exit 143", "Killed", "SIGTERM"),
    ("kill -SEGV $$", "Failed", "signal 11")])
def test_each_bad_end_is_told_with_its_cause(begin, script, name, value):
    """livy#47, #93"""
    result = ended(begin(script))
    assert (result["state"], result["error_name"]) == ("error", name)
    assert value in result["error_value"]


def test_a_result_is_told_again_and_nothing_runs_twice(begin, tmp_path):
    agent = begin(f"echo run >> {tmp_path}/runs")
    first = ended(agent)
    agent.made.take({"t": "run", "id": "s0", "code": "{}"})
    assert agent.results == [first, first]
    agent.made.take({"t": "run", "id": "s1", "code": "{}"})
    assert agent.results[2]["error_name"] == "NotRun"
    assert (tmp_path / "runs").read_text() == "run\n"


def test_a_cancelled_application_ends_with_all_its_processes(begin, tmp_path, monkeypatch):
    """livy#94: those that do not listen, too"""
    monkeypatch.setattr(batch, "GRACE_SECONDS", 0.2)
    os.mkfifo(tmp_path / "up")
    agent = begin(f"trap '' TERM; sleep 600 & echo $! > {tmp_path}/pid; cat {tmp_path}/up; wait")
    with open(tmp_path / "up", "w", encoding="ascii"):
        pass  # Opens as soon as the script reads.
    agent.made.cancel()
    assert ended(agent)["state"] == "cancelled"
    assert has_ended(int((tmp_path / "pid").read_text()))


def test_what_is_cancelled_before_it_began_does_not_run(begin, tmp_path, monkeypatch):
    monkeypatch.setattr(Agent, "send", lambda self, frame: frame["t"] == "begin" and self.made.cancel() or (
        frame["t"] == "result" and (self.results.append(frame), self.ended.set())))
    agent = begin(f"touch {tmp_path}/ran")
    assert ended(agent)["state"] == "cancelled"
    assert not (tmp_path / "ran").exists()


def test_the_end_of_the_log_comes_with_the_result(begin):
    log = ended(begin("exit 0"))["output"]["log"]
    assert log == ["first"]


def test_a_log_s_end_is_bounded(tmp_path):
    path = tmp_path / "log"
    path.write_text("".join(f"line {n}\n" for n in range(100_000)))
    lines = batch.tail(path)
    assert lines[-1] == "line 99999"
    assert len(lines) == batch.LOG_LINES
    path.write_text("x" * 100_000 + "\nlast\n")
    assert batch.tail(path) == ["last"]


def test_confs_keep_their_meaning_in_the_file_of_properties():
    text = batch.properties({"spark.a b": "x=y\\z\n#", "spark.c": "\u00e4\U0001f600"})
    assert text == ("spark.a\\u0020b=x\\u003dy\\u005cz\\u000a\\u0023\n"
                    "spark.c=\\u00e4\\ud83d\\ude00\n")


def test_lists_of_the_submission_come_before_the_profile_s():
    confs = batch.merged({"spark.jars": "p.jar", "spark.master": "m"}, {**WHAT, "jars": ["a.jar", "b.jar"]})
    assert confs == {"spark.jars": "a.jar,b.jar,p.jar", "spark.master": "m", "spark.app.name": "n",
                     "spark.log.level": "WARN"}


def test_files_that_came_with_a_submission_are_where_the_agent_puts_them():
    """kyuubi#53, #54"""
    came = {"name": "a.py", "sha256": "00ff"}
    located = batch.located({**WHAT, "file": came, "files": [came, "hdfs://nn/b"]}, "/t")
    assert located == {**WHAT, "file": "/t/resources/00ff/a.py", "files": ["/t/resources/00ff/a.py", "hdfs://nn/b"]}


def test_only_a_driver_on_one_machine_listens_there_only(monkeypatch):
    monkeypatch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
    assert "SPARK_LOCAL_IP" in batch.environment("/s", {"spark.master": "local[2]"})
    assert "SPARK_LOCAL_IP" not in batch.environment("/s", {"spark.master": "spark://m:7077"})


def test_the_application_gets_the_signals_that_its_runner_ignores(begin):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert ended(begin("kill -INT $$; sleep 600"))["error_name"] == "Killed"
    finally:
        signal.signal(signal.SIGINT, before)
