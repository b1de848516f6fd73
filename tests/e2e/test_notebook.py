"""PySpark in a Jupyter kernel whose user stops a cell. Cases: spec of Spark Connect, section 7."""

import os
import signal

import pytest
from berth_up import wait_until
from notebook import Notebook

# A query whose one task says who runs it, then waits for a file. Another one of these runs on a thread meanwhile.
SETUP = """
import os, threading, time
from pyspark.sql import SparkSession
from pyspark.sql.functions import udf

spark = SparkSession.builder.remote({url!r}).create()
spark.range(7).createOrReplaceTempView("v")

def waits(name):
    began, gate = os.path.join({directory!r}, name + ".began"), os.path.join({directory!r}, name + ".open")
    @udf("long")
    def wait(value):
        with open(began, "w") as out:
            out.write(str(os.getpid()))
        for _ in range(6000):
            if os.path.exists(gate):
                return value
            time.sleep(0.02)
        raise TimeoutError("nobody opened the gate")
    return spark.range(41, 42, 1, 1).select(wait("id").alias("n"))

answers = []
beside = threading.Thread(target=lambda: answers.append(waits("beside").first().n))
beside.start()
"""


@pytest.fixture
def notebook(up, user, tmp_path):
    """A kernel with a query that runs on a thread of its own and waits."""
    up.wait_warm()
    made = Notebook()
    made.run(SETUP.format(url=f"{up.url}/;user_id={user}", directory=str(tmp_path)))
    wait_until(lambda: worker(tmp_path, "beside"), 60, "the query beside the cell does not run")
    yield made
    made.stop()


def worker(directory, name):
    """The process that runs a query's task, once there is one."""
    began = directory / f"{name}.began"
    return began.exists() and int(began.read_text() or 0)


def runs(pid):
    try:
        return open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def stop_cell(notebook, cell):
    notebook.interrupt()
    reply, _ = notebook.end(cell)
    assert (reply["status"], reply["ename"]) == ("error", "KeyboardInterrupt"), reply


def beside_is_unharmed(notebook, directory):
    (directory / "beside.open").touch()
    assert notebook.run("beside.join(120); print(answers, spark.table('v').count())") == "[41] 7"


def test_a_stopped_cell_ends_its_own_query_only(notebook, tmp_path):
    """connect#34, #35"""
    cell = notebook.begin("waits('cell').first()")
    task = wait_until(lambda: worker(tmp_path, "cell"), 60, "the cell's query does not run")
    stop_cell(notebook, cell)
    wait_until(lambda: not runs(task), 60, "the cell's query goes on at the driver")
    beside_is_unharmed(notebook, tmp_path)


def test_a_cell_is_stopped_while_its_session_is_recovered(up, notebook, user, tmp_path):
    """connect#35: no driver is warm, so the cell waits for one that has to start"""
    cell = notebook.begin("waits('cell').first()")
    wait_until(lambda: worker(tmp_path, "cell"), 60, "the cell's query does not run")
    up.wait_warm()
    for spare in up.drivers("warm"):
        os.kill(spare["jvm_pid"], signal.SIGKILL)
    for name in ("cell", "beside"):
        (tmp_path / f"{name}.began").unlink()
    up.kill_driver(user)
    wait_until(lambda: up.session(owner=user)["state"] == "recovering", 60, "the session is not recovered")
    stop_cell(notebook, cell)
    # The query that was not stopped is run again on the next driver; the one that was is not.
    wait_until(lambda: worker(tmp_path, "beside"), 120, "the query beside the cell is not run again")
    beside_is_unharmed(notebook, tmp_path)
    assert not worker(tmp_path, "cell")
