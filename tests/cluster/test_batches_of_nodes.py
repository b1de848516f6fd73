"""Batches whose broker, agent or node is lost while they run."""

import signal

import pytest
from airflow_task import Task
from berth_up import wait_until
from livy_batch import Held, LivyBatch, marked, refusal


def wait_up(cluster):
    """Waits until every node can be given a batch. None needs a warm driver."""
    names = {node.name for node in cluster.nodes}
    wait_until(lambda: {row["id"] for row in cluster.ask("nodes") if row["state"] == "up"} == names, 60, "a node is away")


@pytest.fixture
def held(cluster, tmp_path_factory):
    jobs = cluster.directory / "jobs"
    jobs.mkdir(exist_ok=True)
    directory = jobs / tmp_path_factory.mktemp("held").name
    directory.mkdir()
    return Held(directory)


@pytest.fixture
def submit(cluster, held):
    made = []

    def submit(**conf):
        wait_up(cluster)
        batch = LivyBatch(cluster.livy.address, held.file, args=[str(held.directory)], conf=conf)
        made.append(batch)
        held.wait_for_run()
        return batch

    yield submit
    for batch in made:
        refusal("DELETE", batch.url)


def session_of(cluster, batch):
    return cluster.session(client_id=f"batch-{batch.id}")


def test_i2_a_batch_outlives_its_broker(cluster, submit, held):
    """livy#110, #111, #116: its id, name and true end are there at the other one; ids go on"""
    batch = submit()
    cluster.brokers[0].kill()
    assert batch.state() == "running"
    held.go()
    batch.wait("success")
    assert "sum 45" in batch.log()
    cluster.brokers[0].start().wait_for("is up")
    cluster.brokers[1].kill()
    assert batch.state() == "success"
    assert LivyBatch(cluster.livy.address, held.file, args=[str(held.directory)]).wait("success").id > batch.id
    cluster.brokers[1].start().wait_for("is up")
    assert batch.seen <= {"starting", "running", "success"}
    assert held.runs() == 2


@pytest.mark.parametrize("how, broker", [("sync", 0), ("deferrable", 1)])
def test_i2_airflow_does_not_notice_that_a_broker_is_killed(cluster, held, tmp_path, how, broker):
    """livy#113, #118, #122: while it polls; its next call goes to the other one"""
    wait_up(cluster)
    task = Task(cluster.livy.address, tmp_path, how, held.file, held.directory)
    try:
        held.wait_for_run()
        cluster.brokers[broker].kill()
        held.go()
        result, said = task.result()
        assert (result["outcome"], held.runs()) == ("done", 1), said
        assert "sum 45" in said
    finally:
        task.process.kill()
        task.process.wait()
        cluster.brokers[broker].start().wait_for("is up")


def test_i2_a_batch_outlives_its_agent(cluster, submit, held):
    batch = submit()
    driver = session_of(cluster, batch)["driver"]
    for node in cluster.nodes:
        node.agent.kill()
        node.agent.start()
    for node in cluster.nodes:
        node.agent.wait_for("is up")
    assert marked(driver) and batch.state() == "running"
    held.go()
    batch.wait("success")
    assert "sum 45" in batch.log()
    assert held.runs() == 1
    wait_until(lambda: not marked(driver), 30, "its place is not given back")


def test_i3_a_batch_on_a_lost_node_is_dead(cluster, submit, held):
    batch = submit()
    session = session_of(cluster, batch)
    node = cluster.node(session["node"])
    node.cut()
    try:
        batch.wait("dead", 60)
        assert "on-node-loss=rerun" in batch.log()[-1]
        wait_until(lambda: not marked(session["driver"]), 30, "the lost node's batch lives on past its lease")
    finally:
        node.mend()
    wait_up(cluster)
    assert held.runs() == 1
    assert batch.seen <= {"starting", "running", "dead"}


def test_i1_a_batch_that_asked_for_it_runs_again_elsewhere_and_not_at_once(cluster, submit, held):
    """livy#114"""
    batch = submit(**{"berth.batch.on-node-loss": "rerun"})
    session = session_of(cluster, batch)
    node = cluster.node(session["node"])
    node.cut()
    try:
        wait_until(lambda: batch.state() and held.runs() == 2, 120, "it does not run again")
        assert not marked(session["driver"]), "two runs at once"
        now = session_of(cluster, batch)
        assert (now["epoch"], now["node"] != session["node"]) == (session["epoch"] + 1, True)
        held.go()
        batch.wait("success")
    finally:
        node.mend()
    wait_up(cluster)
    assert batch.seen <= {"starting", "running", "success"}
    assert held.runs() == 2


def test_a_frozen_node_s_batch_is_dead_when_it_thaws(cluster, submit, held):
    """livy#112"""
    batch = submit()
    session = session_of(cluster, batch)
    node = cluster.node(session["node"])
    node.signal_all(signal.SIGSTOP)
    try:
        batch.wait("dead", 60)
    finally:
        node.signal_all(signal.SIGCONT)
    wait_until(lambda: not marked(session["driver"]), 30, "its processes live on")
    wait_up(cluster)
    assert held.runs() == 1
