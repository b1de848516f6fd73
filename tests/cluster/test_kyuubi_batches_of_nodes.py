"""Kyuubi's batches at any broker, and when a broker or a node is lost. Cases: spec of Kyuubi's REST API."""

import threading
import uuid

import pytest
from berth_up import wait_until
from kyuubi_batch import KyuubiBatch
from kyuubi_client import Kyuubi
from livy_batch import Held, marked
from test_batches_of_nodes import wait_up
from test_kyuubi_replicas import address_of


@pytest.fixture
def held(cluster, tmp_path_factory):
    jobs = cluster.directory / "jobs"
    jobs.mkdir(exist_ok=True)
    directory = jobs / tmp_path_factory.mktemp("held").name
    directory.mkdir()
    return Held(directory)


@pytest.fixture
def both(cluster, user):
    """One user's client at each of the two brokers; those that a test has killed run again afterwards."""
    wait_up(cluster)
    yield [Kyuubi(address_of(broker), user) for broker in cluster.brokers]
    for broker in cluster.brokers:
        if broker.process.poll() is not None:
            broker.start().wait_for("is up")


@pytest.fixture
def submit(both, held):
    made = []

    def submit(**conf):
        made.append(KyuubiBatch.submit(both[0], held.file, args=[str(held.directory)], conf=conf))
        held.wait_for_run()
        return made[-1]

    yield submit
    for batch in made:
        both[1].ask("DELETE", f"batches/{batch.id}")


def test_i3_two_brokers_that_are_given_one_id_submit_once(both, held):
    """kyuubi#52"""
    mine = str(uuid.uuid4())
    body = {"batchType": "PYSPARK", "resource": str(held.file), "args": [str(held.directory)],
            "conf": {"kyuubi.batch.id": mine}}
    answers = []
    calls = [threading.Thread(target=lambda at=at: answers.append(at.ask("POST", "batches", body))) for at in both * 3]
    for call in calls:
        call.start()
    for call in calls:
        call.join()
    assert [status for status, _, _ in answers] == [200] * 6
    assert sum("duplicated" in text for _, _, text in answers) == 5
    held.wait_for_run()
    held.go()
    batch = KyuubiBatch(both[1], {"id": mine})
    batch.wait("FINISHED")
    assert held.runs() == 1


def test_i4_any_broker_answers_for_a_batch(both, submit):
    """kyuubi#58, #61"""
    batch = submit()
    there = batch.at(both[1])
    assert there.shown() == batch.shown()
    page = wait_until(lambda: batch.log(0, 3)[2:] and batch.log(0, 3), 60, "it has no log")
    assert there.log(0, 3) == page
    # Who asks for what follows goes on where it was, whichever broker is asked.
    assert batch.log(0, 1) + there.log(-1, 1) + batch.log(-1, 1) == page
    assert [each["id"] for each in both[1].call("GET", f"batches?batchUser={batch.created['user']}")["batches"]] == [batch.id]
    assert there.cancel()["success"] is True
    assert batch.wait("CANCELED") == there.shown()
    assert batch.log() == there.log()
    assert batch.cancel()["success"] is False


def test_i2_a_batch_outlives_its_broker(cluster, both, submit, held):
    """kyuubi#62: its client goes on at the other one, to the true end or a cancel"""
    batch, other = submit(), submit()
    held.wait_for_run(2)
    cluster.brokers[0].kill()
    there = batch.at(both[1])
    assert there.shown()["state"] == "RUNNING"
    assert there.log() is not None
    assert other.at(both[1]).cancel()["success"] is True
    other.at(both[1]).wait("CANCELED")
    gone = both[0].base.removeprefix("http://")

    def reassigned():
        status, _, text = both[1].ask("POST", "batches/reassign", {"kyuubiInstance": gone})
        assert status == 200 or "alive" in text, text
        return status == 200 and batch.id in text
    wait_until(reassigned, 30, "a dead broker's batch is not reassigned")
    assert there.shown()["kyuubiInstance"] == both[1].base.removeprefix("http://")
    held.go()
    there.wait("FINISHED")
    assert "sum 45" in there.log()
    assert held.runs() == 2


def test_i3_a_batch_on_a_lost_node_is_in_error(cluster, both, submit, held):
    """kyuubi#58: who was reading its log hears why"""
    batch = submit()
    wait_until(lambda: len(batch.log(0, 3)) == 3, 60, "it has no log")
    session = cluster.session(client_id=batch.id)
    node = cluster.node(session["node"])
    node.cut()
    try:
        shown = batch.wait("ERROR", 60)
        assert shown["appState"] == "FAILED" and "on-node-loss=rerun" in shown["appDiagnostic"]
        last = batch.at(both[1]).log(3)
        assert "on-node-loss=rerun" in last[-1] and batch.log(3 + len(last)) == []
        wait_until(lambda: not marked(session["driver"]), 30, "the lost node's batch lives on past its lease")
    finally:
        node.mend()
    wait_up(cluster)
    assert held.runs() == 1
