"""Jobs whose operation was interrupted, or is gone."""

import threading

import pytest
from pyspark.errors.exceptions.connect import SparkConnectException
from pyspark.sql import SparkSession

BUSY = "select count(*) from range(1000000000000) where hash(id) = 7"
# Until the job of another session runs.
FIND = """
import time
from berth_driver import interrupts
left = interrupts.Leftovers(sc)
while not sc.statusTracker().getActiveJobsIds():
    time.sleep(0.05)
"""
# As Spark does it, but for the word to the thread.
INTERRUPT = FIND + """
for holder in left.holders():
    left.state(holder).set(left.interrupted)
len(left.holders())
"""
# A job like that of the operation, but submitted when the operation has been cancelled and is gone.
LATER = FIND + """
import threading
(tag,) = left.wanted()
def submit():
    sc.addJobTag(tag)
    try:
        sc.range(0, 2, numSlices=2).foreach(lambda _: time.sleep(600))
    except Exception as error:
        outcome.append(type(error).__name__)
outcome = []
sc.cancelJobsWithTag(tag)
while left.holders():
    time.sleep(0.05)
late = threading.Thread(target=submit)
late.start()
late.join(120)
late.is_alive(), outcome
"""
# A look while its reader is there, then one after another until it is gone for a while.
UNREAD = FIND + """
attached = left.end_unread(0)
open(path, 'x').close()
end = time.monotonic() + 60
while not (ended := left.end_unread(0.5)) and time.monotonic() < end:
    time.sleep(0.05)
while ended and sc.statusTracker().getActiveJobsIds():
    time.sleep(0.05)
attached, len(ended)
"""
# The same for what somebody else may come back for.
UNTAGGED = FIND + """
open(path, 'x').close()
(mine,) = [holder for holder in left.holders() if holder.sparkSessionTags().contains("mine")]
while not any(left.calls(mine)):
    time.sleep(0.05)
left.end_unread(0), int(left.is_unread(mine))
"""


@pytest.fixture
def session(driver):
    made = SparkSession.builder.remote(f"sc://127.0.0.1:{driver.port}").create()
    yield made
    made.stop()


def fails(session, tag):
    session.addTag(tag)
    with pytest.raises(Exception):
        session.sql(BUSY).collect()


def busy(session, outcome):
    with pytest.raises(SparkConnectException) as raised:
        session.sql(BUSY).collect()
    outcome.append(str(raised.value))


def test_an_interrupt_that_is_not_heard_ends_the_job_all_the_same(driver, session):
    """Its operation ends as any that was interrupted, and the cores are free"""
    outcome = []
    running = threading.Thread(target=busy, args=(session, outcome))
    running.start()
    assert driver.show("pyspark", INTERRUPT) == "1"
    running.join(120)
    assert "OPERATION_CANCELED" in outcome[0]
    assert driver.show("pyspark", "len(sc.statusTracker().getActiveJobsIds())") == "0"
    assert session.sql("select 1").collect() == [(1,)]


def test_a_job_that_comes_after_the_end_of_its_operation_is_ended(driver, session):
    """As a stage that is made on another thread when its operation has been cancelled"""
    outcome = []
    running = threading.Thread(target=busy, args=(session, outcome))
    running.start()
    assert driver.show("pyspark", LATER) == "(False, ['Py4JJavaError'])"
    running.join(120)
    assert outcome
    assert driver.show("pyspark", "len(sc.statusTracker().getActiveJobsIds())") == "0"


@pytest.mark.parametrize(["tag", "look"], [("berth-broker-bound", UNREAD), ("mine", UNTAGGED)], ids=["bound", "free"])
def test_what_only_a_dead_broker_could_read_ends_soon(driver, tmp_path, tag, look):
    """Not while it is read, and not what any broker may come back for"""
    session = SparkSession.builder.remote(f"sc://127.0.0.1:{driver.port}").create()
    looked, found = tmp_path / "looked", []
    reader = threading.Thread(target=fails, args=(session, tag))
    looker = threading.Thread(target=lambda: found.append(driver.show("pyspark", f"path = {str(looked)!r}" + look)))
    reader.start()
    looker.start()
    while not looked.exists():
        assert looker.is_alive(), found
    session.client._channel.close()
    looker.join(120)
    reader.join(120)
    assert found == ["([], 1)"]
    driver.show("pyspark", "[holder.interrupt() for holder in left.holders()]")


def test_a_query_that_streams_outlives_the_operation_that_started_it(driver, session):
    """Its jobs are in a group, and are let be over several looks"""
    rate = session.readStream.format("rate").option("rowsPerSecond", 10).load()
    query = rate.writeStream.format("noop").trigger(processingTime="0 seconds").start()
    driver.show("pyspark", FIND + "looks = []\nwhile len(looks) < 3:\n    looks.append(left.look())\n    time.sleep(1)\n")
    before = query.lastProgress["batchId"]
    while query.lastProgress["batchId"] < before + 3:
        assert query.exception() is None
    assert query.isActive
    query.stop()
