"""Streaming queries and their clients when the driver is lost: they end by name, and go on from their checkpoint."""

import threading

import pytest
from berth_up import wait_until
from pyspark.errors import PySparkException
from pyspark.sql.streaming import StreamingQueryListener

ENDED = "BERTH.STREAMING_QUERY_LOST"


def start(spark, paths):
    """Numbers of a rate source into parquet; the same query whenever it is started."""
    return (spark.readStream.format("rate").option("rowsPerSecond", 50).load()
            .writeStream.format("parquet").trigger(processingTime="200 milliseconds")
            .option("checkpointLocation", str(paths / "checkpoint")).start(str(paths / "sink")))


def rows(spark, paths):
    """How many numbers were written, and how many different ones."""
    found = spark.read.schema("timestamp timestamp, value long").parquet(str(paths / "sink"))
    return tuple(found.selectExpr("count(value)", "count(distinct value)").first())


def failure(work):
    with pytest.raises(PySparkException) as raised:
        work()
    return str(raised.value)


def test_a_query_under_which_the_driver_is_lost(up, spark, user, tmp_path):
    """connect#57, connect#58: whoever waits is told by name, and the query started again doubles nothing"""
    query = start(spark, tmp_path)
    wait_until(lambda: (tmp_path / "sink").exists() and rows(spark, tmp_path)[0] > 0, 60, "nothing is written")
    told = []
    waiting = threading.Thread(target=lambda: told.append(failure(query.awaitTermination)))
    waiting.start()
    up.wait_warm()
    up.kill_driver(user)
    assert spark.range(3).count() == 3
    waiting.join(timeout=60)
    assert told and query.id in told[0] and ENDED in told[0] and "checkpointLocation" in told[0], told
    before = rows(spark, tmp_path)
    again = start(spark, tmp_path)
    assert again.id == query.id
    wait_until(lambda: rows(spark, tmp_path)[0] > before[0], 60, "it does not go on")
    again.stop()
    written, different = rows(spark, tmp_path)
    assert written == different


class Listener(StreamingQueryListener):
    """Notes which queries have begun, and which have ended."""

    def __init__(self):
        self.ids, self.ended = [], []

    def onQueryStarted(self, event):
        self.ids.append(str(event.id))

    def onQueryProgress(self, event):
        pass

    def onQueryIdle(self, event):
        pass

    def onQueryTerminated(self, event):
        self.ended.append(str(event.id))


def batches(spark, paths):
    """A query that gives each batch to a function."""
    target = str(paths / "out")

    def each(batch, number):
        batch.write.mode("append").parquet(target)

    return (spark.readStream.format("rate").load().writeStream.foreachBatch(each)
            .option("checkpointLocation", str(paths / "batches")).start())


@pytest.mark.parametrize("kills", [1, 2])
def test_listeners_hear_on_after_each_loss(up, spark, user, tmp_path, kills):
    """connect#59, connect#60: a listener stays; a query with a function ends by name and is started again"""
    listener = Listener()
    spark.streams.addListener(listener)
    query = batches(spark, tmp_path)
    wait_until(lambda: query.id in listener.ids, 60, "the listener hears nothing")
    for _ in range(kills):
        up.wait_warm()
        up.kill_driver(user)
        assert spark.range(3).count() == 3
        text = failure(lambda: query.status)
        assert query.id in text and ENDED in text, text
    heard = len(listener.ids)
    again = batches(spark, tmp_path)
    assert again.id == query.id
    wait_until(lambda: len(listener.ids) > heard, 60, "the listener hears nothing of the new driver")
    again.stop()
    # PySpark holds one lock while it removes a listener and while it hands out an event: each would wait for the other.
    wait_until(lambda: again.id in listener.ended, 60, "the listener does not hear of the end")
    spark.streams.removeListener(listener)
    assert spark.range(4).count() == 4


def test_a_listener_is_removed_just_after_a_loss(up, spark, user):
    """connect#59: its end may reach the new driver before its beginning does"""
    for _ in range(2):
        listener = Listener()
        spark.streams.addListener(listener)
        up.wait_warm()
        up.kill_driver(user)
        spark.streams.removeListener(listener)
    assert spark.range(3).count() == 3
