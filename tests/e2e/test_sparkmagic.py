"""sparkmagic's kernels, unmodified, execute notebooks of which the driver is killed between two cells."""

import json
import os
import signal
import urllib.request

import pytest
from berth_up import wait_until
from livy_client import LivySession
from sparkmagic import HEARTBEAT_SECONDS, Run


@pytest.fixture
def execute(up, tmp_path):
    """Executes a notebook; kills its driver where it waits for that, and, if it does, while a cell runs there."""
    runs = []
    paths = {name: tmp_path / name for name in ("reached", "go", "running", "again")}

    def all_of_it(notebook, in_cell=False):
        up.wait_warm()
        run = Run(up.endpoints["livy"], notebook, tmp_path,
                  **{f"NOTEBOOK_{name.upper()}": str(path) for name, path in paths.items()})
        runs.append(run)
        kill(run, paths["reached"])
        paths["go"].touch()
        if in_cell:
            kill(run, paths["running"])
            wait_until(lambda: sessions(up)[-1]["state"] == "idle", 120, "the session is not recovered")
            outlive_silence(up)
            paths["again"].touch()
            interrupt(run, tmp_path / "running-on")
        return run.wait()

    def kill(run, when):
        wait_until(lambda: run.reached(when), 400, f"the notebook does not get to its kill: {when.name}")
        up.wait_warm()
        up.kill_driver(dialect="livy")

    def interrupt(run, when):
        """Presses the stop button; the cell says whose."""
        kernel = wait_until(lambda: run.reached(when) and when.read_text(), 120, "the cell does not run")
        os.kill(int(kernel), signal.SIGINT)

    yield all_of_it
    for run in runs:
        run.end()


def outlive_silence(up):
    """Waits until a session has ended that lives as long without a call as the notebook's, and that nobody calls."""
    (notebook,) = sessions(up)
    assert notebook["heartbeatTimeoutInSecond"] == HEARTBEAT_SECONDS
    silent = LivySession(up.endpoints["livy"], heartbeatTimeoutInSecond=HEARTBEAT_SECONDS).id
    wait_until(lambda: silent not in [each["id"] for each in sessions(up)], 120, "the silent session does not end")
    assert [each["id"] for each in sessions(up)] == [notebook["id"]]


def sessions(up):
    with urllib.request.urlopen(f"http://{up.endpoints['livy']}/sessions", timeout=10) as answer:
        return json.load(answer)["sessions"]


def test_a_notebook_of_python_and_sql(up, execute):
    """livy#78, #82, #120"""
    shown = execute("pyspark.ipynb", in_cell=True)
    lost = "time.sleep(600)"
    assert [lost in cell or cell for cell in shown.failed()] == ["1 / 0", True]
    # What it wrote before its driver died is not written again; the notebook goes on with what it had.
    assert "may or may not have taken effect" in shown.text_of(lost)
    assert shown.text_of("x + 23") == "once  43"
    # The stop button ends the cell, and no more than that.
    assert "Interrupted by user" in json.dumps(shown.outputs("time.sleep(601)"))
    assert "failed to cancel" not in json.dumps(shown.outputs("time.sleep(601)"))
    assert shown.text_of("x + 24") == "44"
    assert "image/png" in shown.types_of("%matplot remote")
    assert "ZeroDivisionError: division by zero" in shown.text_of("1 / 0")
    printed = {
        "type(counted)": "DataFrame [34, 33, 33]",
        "largest.m": "99",
        "frame.shape": "(3, 2) [0, 1, 2]",
        "print(x + 22": "42 7 100",
        "again.s": "4950",
    }
    assert {part: shown.text_of(part) for part in printed} == printed
    assert shown.text_of("spark.conf.get").endswith("'5'")
    assert "<td>34</td>" in shown.page_of("%%sql -o counted") and not shown.page_of("%%sql -q -o largest")
    assert "image/png" in shown.types_of("plt.plot")
    assert "'second'" in shown.page_of("%%info") and "idle" in shown.page_of("%%info")
    assert shown.text_of("%%logs"), "the log is empty"
    assert not sessions(up), "cleanup leaves a session"


def test_a_notebook_of_scala_and_sql(up, execute):
    """livy#56, #120"""
    shown = execute("spark.ipynb")
    assert shown.failed() == ['val wrong: Int = "text"']
    assert "type mismatch" in shown.text_of("val wrong")
    printed = {
        "n * x": "120.0",
        "type(counted)": "DataFrame [34, 33, 33]",
        "x + 22": "42",
        "again.s": "4950",
    }
    assert {part: shown.text_of(part) for part in printed} == printed
    assert not sessions(up), "cleanup leaves a session"
