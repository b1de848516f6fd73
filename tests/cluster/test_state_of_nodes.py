"""Everything that a session has, before and after its node is lost."""

from everything import EXPECTED, build, look
from pyspark.sql import SparkSession


def test_i2_state_of_every_kind_outlives_its_node(cluster, user, tmp_path):
    """connect#41 to #45, #47 to #50 and #54 with the power cut, and tables of a catalog that all nodes share"""
    cluster.wait_warm()
    spark = SparkSession.builder.remote(f"{cluster.url}/;user_id={user}").create()
    type(spark)._active_session.session = spark
    frame, clone = build(spark, tmp_path)
    assert look(spark, frame) == EXPECTED
    before = cluster.session(client_id=spark.session_id)
    node = cluster.node(before["node"])
    node.cut()
    try:
        assert look(spark, frame) == EXPECTED
        assert clone.table("v").count() == 100
        now = cluster.session(client_id=spark.session_id)
        assert now["node"] != before["node"] and now["epoch"] == before["epoch"] + 1
    finally:
        node.mend()
    clone.stop()
    spark.stop()
