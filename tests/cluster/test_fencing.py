"""A node that has lost etcd alone: brokers, clients and the metastore still reach it."""

from berth_up import wait_until
from slow_write import Writing, copies, is_running, slow_rows
from test_nodes import alive


def test_i1_i3_a_node_without_etcd_ends_its_drivers_under_a_write(cluster, spark, user):
    """connect#74: they are gone before anybody else has the session, and the write is not run again"""
    table = f"w_{user}"
    rows = slow_rows(spark)
    session = cluster.session(user)
    (old,) = [row for row in cluster.ask("drivers") if row["id"] == session["driver"]]
    node = cluster.node(session["node"])
    writing = Writing(lambda: rows.write.mode("append").saveAsTable(table))
    wait_until(lambda: is_running(cluster.ask, user), 60, "the write is not recorded")
    node.cut_from_etcd()
    try:
        wait_until(lambda: cluster.session(user)["epoch"] > session["epoch"], 60, "the session stays where it is")
        assert not alive(old["jvm_pid"]), "two drivers have the session"
        assert writing.is_told_unknown()
        assert spark.table("v").count() == 100
        now = cluster.session(user)
        assert (now["epoch"], now["node"] != node.name) == (session["epoch"] + 1, True)
    finally:
        node.mend_etcd()
    cluster.wait_warm()
    assert session["driver"] not in [row["id"] for row in cluster.ask("drivers")]
    if spark.catalog.tableExists(table):
        assert copies(spark, table) in (0, 1)
        spark.sql(f"drop table {table}")
    assert cluster.session(user)["epoch"] == now["epoch"]
