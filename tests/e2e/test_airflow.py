"""Airflow's own Livy provider against batches. Case: livy#122."""

import os
import signal

import pytest
from airflow_task import Task
from berth_up import wait_until
from livy_batch import Held, marked, refusal


@pytest.fixture
def task(up, tmp_path):
    made = []

    def task(how, file, *arguments):
        made.append(Task(up.endpoints["livy"], tmp_path / "airflow", how, file, *arguments))
        return made[-1]

    yield task
    for each in made:
        each.process.kill()
        each.process.wait()


@pytest.fixture
def held(local_jobs, tmp_path_factory):
    directory = local_jobs / tmp_path_factory.mktemp("airflow").name
    directory.mkdir()
    return Held(directory)


def batch_of(up):
    """The session of the one batch that runs."""
    (session,) = [row for row in up.ask("sessions")
                  if row["client_id"].startswith("batch-") and row["state"] == "active"]
    return session


@pytest.mark.parametrize("how", ["sync", "deferrable"])
def test_a_task_succeeds_with_its_log(task, held, how):
    """livy#19, #95, #122"""
    held.go()
    result, said = task(how, held.file, held.directory).result()
    assert result["outcome"] == "done"
    assert result["pushed"] == {"app_id": None}
    assert "sum 45" in said


@pytest.mark.parametrize("how", ["sync", "deferrable"])
def test_a_task_fails_with_its_log(task, held, how):
    """livy#122"""
    failing = held.directory / "failing.py"
    failing.write_text("raise ValueError('said why')\n")
    result, said = task(how, failing).result()
    assert "did not succeed" in result["outcome"]
    assert "ValueError: said why" in said


@pytest.mark.parametrize("how", ["sync", "deferrable"])
def test_i3_a_task_is_told_of_a_batch_that_is_lost_while_it_polls(up, task, held, how):
    """livy#114, #122"""
    running = task(how, held.file, held.directory)
    held.wait_for_run()
    os.kill(up.driver_of(batch_of(up))["pid"], signal.SIGKILL)
    result, said = running.result()
    assert "did not succeed" in result["outcome"]
    assert "on-node-loss=rerun" in said, "the log does not say why"
    assert held.runs() == 1


@pytest.mark.parametrize("how", ["sync-timeout", "deferrable-timeout"])
def test_a_task_that_times_out_deletes_its_batch(task, held, how):
    """livy#122"""
    running = task(how, held.file, held.directory)
    result, _ = running.result()
    assert "timed out" in result["outcome"]
    assert refusal("GET", f"{running.url}/batches/{result['batch']}")[0] == 404


def test_a_task_that_is_killed_deletes_its_batch(up, task, held):
    """livy#122"""
    running = task("kill", held.file, held.directory)
    held.wait_for_run()
    session = batch_of(up)
    running.process.stdin.write("now\n")
    running.process.stdin.flush()
    result, _ = running.result()
    assert result["outcome"] != "done"
    assert refusal("GET", f"{running.url}/batches/{result['batch']}")[0] == 404
    wait_until(lambda: not marked(session["driver"]), 30, "its processes live on")
