"""What lives in a driver and cannot be made again from its record: named when it is used after a loss, and only then."""

import pytest
from berth_up import wait_until
from pyspark.errors import PySparkException
from pyspark.sql.datasource import DataSource, DataSourceReader
from pyspark.storagelevel import StorageLevel


def source():
    """A data source that is pickled by value."""

    class Squares(DataSource):
        @classmethod
        def name(cls):
            return "squares"

        def schema(self):
            return "n int"

        def reader(self, schema):
            class Reader(DataSourceReader):
                def read(self, partition):
                    yield from ((n * n,) for n in range(4))

            return Reader()

    return Squares


@pytest.fixture
def lost(up, spark, user, tmp_path):
    """A session with handles of every kind whose driver has been killed since."""
    from pyspark.ml.classification import LogisticRegression
    from pyspark.ml.linalg import Vectors

    handles = {"session": spark}
    spark.dataSource.register(source())
    assert spark.read.format("squares").load().count() == 4
    checkpointed = spark.range(5).localCheckpoint()
    checkpointed.createOrReplaceTempView("over_checkpoint")
    assert spark.table("over_checkpoint").count() == 5
    spark.sql("create or replace temp view by_sql as select * from over_checkpoint")
    cached = handles["cached"] = spark.range(100).cache()
    assert cached.count() == 100
    handles["training"] = training = spark.createDataFrame(
        [(1.0, Vectors.dense(0.0, 1.1)), (0.0, Vectors.dense(2.0, 1.0)), (1.0, Vectors.dense(0.0, 1.2))],
        ["label", "features"])
    handles["model"] = LogisticRegression(maxIter=2).fit(training)
    assert handles["model"].transform(training).count() == 3
    handles["query"] = (spark.readStream.format("rate").load().writeStream.format("parquet")
                        .option("checkpointLocation", str(tmp_path / "checkpoint")).start(str(tmp_path / "sink")))
    assert handles["query"].isActive
    # Spark does not go on from a checkpoint whose first batch was cut off.
    wait_until(lambda: (tmp_path / "checkpoint" / "commits" / "0").exists(), 60, "the query has no first batch")
    handles["paths"] = tmp_path
    up.wait_warm()
    up.kill_driver(user)
    return handles


def told(named, work, condition="BERTH.PINNED_STATE_LOST"):
    with pytest.raises(PySparkException) as raised:
        work()
    text = str(raised.value)
    assert named in text and condition in text, text
    assert "DATAFRAME_NOT_FOUND" not in text


def test_handles_of_a_lost_driver(lost, user):
    """connect#46, #52, #53, #57: what can be made again is there, the rest is told by its name"""
    spark = lost["session"]
    assert spark.range(3).count() == 3
    assert sorted(row.n for row in spark.read.format("squares").load().collect()) == [0, 1, 4, 9]
    assert lost["cached"].count() == 100
    told("view over_checkpoint", lambda: spark.table("Over_Checkpoint").count())
    told("view by_sql", lambda: spark.table("by_sql").count())
    told(lost["model"]._java_obj.ref_id, lambda: lost["model"].transform(lost["training"]).count())
    ended = "BERTH.STREAMING_QUERY_LOST"
    told(lost["query"].id, lambda: lost["query"].status, ended)
    told(lost["query"].id, lambda: lost["query"].awaitTermination(5), ended)
    told(lost["query"].id, lambda: lost["query"].stop(), ended)
    # Its checkpoint is where it was: the same query started again goes on from there.
    again = (spark.readStream.format("rate").load().writeStream.format("parquet")
             .option("checkpointLocation", str(lost["paths"] / "checkpoint")).start(str(lost["paths"] / "sink")))
    assert again.isActive and again.id == lost["query"].id
    again.stop()
    # What its finalizer sends when a model is forgotten does no harm.
    del lost["model"]
    assert spark.range(4).count() == 4


def test_what_was_cached_is_cached_again(up, spark, user):
    """connect#50: tables, views and frames, with their storage levels"""
    spark.range(10).createOrReplaceTempView("numbers")
    spark.sql("cache table numbers")
    frame = spark.range(20).persist(StorageLevel.DISK_ONLY)
    assert frame.count() == 20 and spark.catalog.isCached("numbers")
    up.wait_warm()
    up.kill_driver(user)
    assert spark.catalog.isCached("numbers")
    assert spark.table("numbers").count() == 10 and frame.count() == 20
    assert (frame.storageLevel.useDisk, frame.storageLevel.useMemory) == (True, False)
    spark.sql("uncache table numbers")
    frame.unpersist()
    up.wait_warm()
    up.kill_driver(user)
    assert not spark.catalog.isCached("numbers")
    assert not frame.storageLevel.useDisk
