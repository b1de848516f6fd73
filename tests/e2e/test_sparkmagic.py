"""sparkmagic's kernels, unmodified, execute notebooks of which the driver is killed between two cells."""

import json
import urllib.request

import pytest
from berth_up import wait_until
from sparkmagic import Run


@pytest.fixture
def execute(up, tmp_path):
    """Executes a notebook; kills its driver where it waits for that."""
    runs = []

    def all_of_it(notebook):
        reached, go = tmp_path / "reached", tmp_path / "go"
        up.wait_warm()
        run = Run(up.endpoints["livy"], notebook, tmp_path, NOTEBOOK_REACHED=str(reached), NOTEBOOK_GO=str(go))
        runs.append(run)
        wait_until(lambda: run.reached(reached), 400, "the notebook does not get to its kill")
        up.wait_warm()
        up.kill_driver(dialect="livy")
        go.touch()
        return run.wait()

    yield all_of_it
    for run in runs:
        run.end()


def sessions(up):
    with urllib.request.urlopen(f"http://{up.endpoints['livy']}/sessions", timeout=10) as answer:
        return json.load(answer)["sessions"]


def test_a_notebook_of_python_and_sql(up, execute):
    """livy#82, #120"""
    shown = execute("pyspark.ipynb")
    assert shown.failed() == ["1 / 0"]
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
