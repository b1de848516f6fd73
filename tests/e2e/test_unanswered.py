"""A driver that dies after it has done what it was told, and before it has said so. Cases: spec of Spark Connect, section 7."""

from pathlib import Path
from threading import Thread

import pytest
from applications import compile_java
from berth_up import Up, activate, table, wait_until
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

SOURCE = Path(__file__).parent / "jvm" / "Withholding.java"
USER = "unanswered"


@pytest.fixture(scope="module")
def gate(tmp_path_factory):
    """Where a driver looks whether it may tell what became of a command."""
    classes = tmp_path_factory.mktemp("withholding")
    compile_java(classes, SOURCE)
    return classes


@pytest.fixture(scope="module")
def withholding(tmp_path_factory, gate):
    confs = table({"spark.driver.extraClassPath": gate, "spark.connect.grpc.interceptor.classes": "Withholding"})
    up = Up(tmp_path_factory.mktemp("up"), "--warm", "1", "--set", f"agent.profiles.default.confs={confs}")
    yield up
    up.stop()


@pytest.fixture
def spark(withholding):
    session = SparkSession.builder.remote(f"{withholding.url}/;user_id={USER}").create()
    activate(session)
    yield session
    session.stop()


def killed_unanswered(up, gate, call):
    """What the caller is told when its driver is killed between doing and telling; `None` if all went well."""
    told = []

    def run():
        try:
            told.append(call())
        except PySparkException as error:
            told.append(error)

    (gate / "shut").touch()
    calling = Thread(target=run)
    calling.start()
    wait_until((gate / "withheld").exists, 60, "the driver does not get so far")
    assert not told, "it was told before its driver was killed"
    up.kill_driver(USER)
    (gate / "shut").unlink()
    calling.join(timeout=120)
    (gate / "withheld").unlink()
    (outcome,) = told
    return outcome


def test_a_state_change_that_was_applied_is_answered_as_if_nothing_had_been(withholding, gate, spark):
    """connect#69: it was done at the first driver, and is done at the next one, where it does not exist already"""
    outcome = killed_unanswered(withholding, gate, lambda: spark.sql("create temp view once as select 1 as n"))
    assert not isinstance(outcome, PySparkException), outcome
    assert spark.table("once").collect() == [(1,)]
    with pytest.raises(PySparkException, match="ALREADY_EXISTS"):
        spark.sql("create temp view once as select 2 as n")
    withholding.kill_driver(USER)
    assert spark.table("once").collect() == [(1,)], "it is part of what is rebuilt"


def test_i3_a_write_that_was_done_is_unknown_and_there_once(withholding, gate, spark):
    """connect#67"""
    spark.sql("create table done (n bigint) using parquet")
    outcome = killed_unanswered(withholding, gate, lambda: spark.sql("insert into done values (1), (2)"))
    assert isinstance(outcome, PySparkException) and "BERTH.OUTCOME_UNKNOWN" in str(outcome), outcome
    assert sorted(row.n for row in spark.table("done").collect()) == [1, 2]
    spark.sql("drop table done")
