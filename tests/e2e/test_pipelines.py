"""Spark's declarative pipelines, run by its own `spark-pipelines`. Cases: spec of Spark Connect, section 7."""

import os
import subprocess
import sys

import pytest
from berth_up import wait_until

SPEC = """
name: tiny
storage: file://{storage}
libraries:
  - glob:
      include: tables.py
  - glob:
      include: wait.py
"""
DEFINED = '''
from pyspark import pipelines as dp
from pyspark.sql import SparkSession

@dp.materialized_view
def {table}():
    return SparkSession.active().range(5)

@dp.materialized_view
def {table}_twice():
    return SparkSession.active().table("{table}").selectExpr("id * 2 as id")
'''
# Read after the tables are defined, before the pipeline runs.
WAITS = '''
import os, time
open({reached!r}, "w").close()
while not os.path.exists({go!r}):
    time.sleep(0.1)
'''


@pytest.fixture
def run(up, user, tmp_path):
    """Starts the command on a pipeline of two tables, one made from the other."""
    (tmp_path / "tables.py").write_text(DEFINED.format(table=user))
    (tmp_path / "spark-pipeline.yml").write_text(SPEC.format(storage=tmp_path / "storage"))
    begun = []

    def start():
        up.wait_warm()
        env = {**os.environ, "SPARK_REMOTE": f"{up.url}/;user_id={user}"}
        command = [sys.executable, "-m", "pyspark.pipelines.cli", "run", "--spec", str(tmp_path / "spark-pipeline.yml")]
        begun.append(subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
        return begun[-1]

    yield start
    for process in begun:
        process.kill()
        process.wait()


def test_a_pipeline_whose_driver_is_killed_after_its_definition(up, run, connect, user, tmp_path):
    """connect#61: its graph was the driver's alone; run again, it does all of its work"""
    reached, go = tmp_path / "reached", tmp_path / "go"
    waits = tmp_path / "wait.py"
    waits.write_text(WAITS.format(reached=str(reached), go=str(go)))
    killed = run()
    wait_until(lambda: reached.exists() or killed.poll() is not None, 120, "the pipeline is not defined")
    assert killed.poll() is None, killed.communicate()[0]
    up.wait_warm()
    up.kill_driver(user)
    wait_until(lambda: up.session(owner=user)["epoch"] == 2, 120, "the session is not recovered")
    go.touch()
    said, _ = killed.communicate(timeout=120)
    assert killed.returncode != 0 and "BERTH.PINNED_STATE_LOST" in said and "pipeline graph" in said, said
    again = run()
    said, _ = again.communicate(timeout=180)
    assert again.returncode == 0, said
    assert [row.id for row in connect(user).table(f"{user}_twice").orderBy("id").collect()] == [0, 2, 4, 6, 8]
