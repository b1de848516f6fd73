"""Interrupts that the thread of an operation does not hear."""

import threading

import pytest
from pyspark.errors.exceptions.connect import SparkConnectException
from pyspark.sql import SparkSession

# As Spark does it, but for the word to the thread.
INTERRUPT = """
import time
from berth_driver import interrupts
left = interrupts.Leftovers(sc)
while not sc.statusTracker().getActiveJobsIds():
    time.sleep(0.05)
for holder in left.holders():
    left.state(holder).set(left.interrupted)
len(left.holders())
"""


def test_an_interrupt_that_is_not_heard_ends_the_job_all_the_same(driver):
    """Its operation ends as any that was interrupted, and the cores are free"""
    spark = SparkSession.builder.remote(f"sc://127.0.0.1:{driver.port}").create()
    outcome = []

    def run():
        with pytest.raises(SparkConnectException) as raised:
            spark.sql("select count(*) from range(1000000000000) where hash(id) = 7").collect()
        outcome.append(str(raised.value))

    running = threading.Thread(target=run)
    running.start()
    assert driver.show("pyspark", INTERRUPT) == "1"
    running.join(120)
    assert "OPERATION_CANCELED" in outcome[0]
    assert driver.show("pyspark", "len(sc.statusTracker().getActiveJobsIds())") == "0"
    assert spark.sql("select 1").collect() == [(1,)]
    spark.stop()
