"""Agents that die, and nodes that are lost, frozen or drained."""

import os
import signal
import time

from berth_up import wait_until
from pyspark.sql.connect.client import DefaultChannelBuilder
from pyspark.sql.connect.session import SparkSession

LEASE_SECONDS = 3


def other(cluster, node):
    (found,) = [each for each in cluster.nodes if each is not node]
    return found


def test_i2_an_agent_is_killed_and_adopts_its_drivers(cluster, spark, user, livy):
    """Its drivers live on, and a statement that runs there goes on."""
    session = cluster.session(user)
    statement = livy.submit("import time; time.sleep(6); 'done'")
    for node in cluster.nodes:
        node.agent.kill()
        node.agent.start()
    for node in cluster.nodes:
        node.agent.wait_for("is up")
    assert spark.conf.get("berth.test") == user
    assert spark.table("v").count() == 100
    assert livy.output(statement)["data"]["text/plain"] == "'done'"
    now = cluster.session(user)
    assert (now["epoch"], now["driver"]) == (session["epoch"], session["driver"])


def test_i1_i2_a_lost_node_s_sessions_answer_on_another_one(cluster, spark, user):
    """connect#74"""
    session = cluster.session(user)
    node = cluster.node(session["node"])
    old = [row for row in cluster.ask("drivers") if row["id"] == session["driver"]]
    assert old
    node.cut()
    try:
        began = time.monotonic()
        assert spark.conf.get("berth.test") == user
        print(f"node lost to next answer: {time.monotonic() - began:.1f} s, lease {LEASE_SECONDS} s")
        assert spark.table("v").count() == 100
        now = cluster.session(user)
        assert (now["node"], now["epoch"]) == (other(cluster, node).name, session["epoch"] + 1)
        wait_until(lambda: not alive(old[0]["jvm_pid"]), 30, "the lost node's driver lives on past its lease")
    finally:
        node.mend()
    cluster.wait_warm()
    assert session["driver"] not in [row["id"] for row in cluster.ask("drivers")]
    assert spark.table("v").count() == 100


def test_i1_a_frozen_node_serves_nothing_under_its_old_epoch(cluster, spark, user):
    """SIGSTOP for three leases: when it thaws, its drivers are dead before anything reaches them."""
    session = cluster.session(user)
    node = cluster.node(session["node"])
    (old,) = [row for row in cluster.ask("drivers") if row["id"] == session["driver"]]
    node.signal_all(signal.SIGSTOP)
    frozen = time.monotonic()
    try:
        assert spark.conf.get("berth.test") == user
        assert cluster.session(user)["node"] == other(cluster, node).name
        wait_until(lambda: time.monotonic() > frozen + 3 * LEASE_SECONDS, 60, "time stands still")
    finally:
        node.signal_all(signal.SIGCONT)
    wait_until(lambda: not alive(old["jvm_pid"]), 30, "the frozen node's driver lives on")
    cluster.wait_warm()
    assert spark.table("v").count() == 100
    assert cluster.session(user)["epoch"] == session["epoch"] + 1


def test_a_drained_node_is_emptied(cluster, spark, user):
    """connect#79"""
    session = cluster.session(user)
    node = cluster.node(session["node"])
    cluster.ask("drain", node.name)
    try:
        goal = other(cluster, node).name
        wait_until(lambda: cluster.session(user)["node"] == goal, 60, "the session stays on the drained node")
        assert spark.conf.get("berth.test") == user
        assert spark.table("v").count() == 100
        assert cluster.session(user)["node"] == goal
    finally:
        cluster.ask("drain", node.name, "--undo")


def test_a_drained_node_waits_for_a_client_that_pauses(cluster, user):
    """connect#79: no byte passes while the client is at its first row, and the query is not begun again elsewhere

    Its messages are small and the client's window is as narrow as gRPC makes it: it grows with the speed that it sees
    otherwise, and may have taken all of the result before the pause.
    """
    cluster.wait_warm()
    narrow = [("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 65_536)]
    spark = SparkSession.builder.channelBuilder(DefaultChannelBuilder(f"{cluster.url}/;user_id={user}", narrow)).create()
    spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", 100)
    session = cluster.session(user)
    node = cluster.node(session["node"])
    rows = spark.range(0, 20_000, 1, 4).selectExpr("id", "repeat('x', 8192) as pad").toLocalIterator()
    read = [next(rows).id]
    cluster.ask("drain", node.name)
    try:
        time.sleep(15)  # The case itself: a pause of several times the quiet after which sessions are moved.
        assert cluster.session(user)["epoch"] == session["epoch"]
        read += [row.id for row in rows]
        assert read == list(range(20_000))
        goal = other(cluster, node).name
        wait_until(lambda: cluster.session(user)["node"] == goal, 60, "the session stays on the drained node")
    finally:
        cluster.ask("drain", node.name, "--undo")
        spark.stop()


def test_a_drained_node_waits_for_a_streaming_query(cluster, spark, user, tmp_path):
    """connect#79: its driver would end it, although nobody asks for it"""
    session = cluster.session(user)
    node = cluster.node(session["node"])
    query = (spark.readStream.format("rate").load().writeStream.format("parquet").trigger(processingTime="1 minute")
             .option("checkpointLocation", str(tmp_path / "checkpoint")).start(str(tmp_path / "sink")))
    cluster.ask("drain", node.name)
    try:
        time.sleep(15)  # The case itself, as above.
        assert cluster.session(user)["epoch"] == session["epoch"]
        assert query.isActive
        query.stop()
        goal = other(cluster, node).name
        wait_until(lambda: cluster.session(user)["node"] == goal, 60, "the session stays on the drained node")
    finally:
        cluster.ask("drain", node.name, "--undo")


def test_i2_a_driver_that_dies_is_replaced_before_anybody_asks(cluster, spark, user):
    session = cluster.session(user)
    (driver,) = [row for row in cluster.ask("drivers") if row["id"] == session["driver"]]
    os.kill(driver["jvm_pid"], signal.SIGKILL)
    wait_until(lambda: moved(cluster, user, session), 60, "the leader does not recover the session")
    assert spark.table("v").count() == 100
    assert cluster.session(user)["epoch"] == session["epoch"] + 1


def moved(cluster, user, before):
    now = cluster.session(user)
    return now["state"] == "active" and now["driver"] != before["driver"]


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except FileNotFoundError:
        return False
