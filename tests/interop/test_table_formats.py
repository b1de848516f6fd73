"""Tables of Iceberg, on drivers of an older Spark than the other tests have. Cases: spec of Spark Connect, section 7."""

import os
from pathlib import Path

import pytest
from berth_up import Up, activate, table, wait_until
from pyspark.sql import SparkSession
from slow_write import Writing, copies, is_running, slow_rows

CLIENTS = Path(os.environ["BERTH_CLIENTS"])
USER = "lake"


@pytest.fixture(scope="module")
def up(tmp_path_factory):
    (jar,) = (CLIENTS / "iceberg").glob("*.jar")
    confs = {
        "spark.driver.extraClassPath": jar,
        "spark.sql.extensions": "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
        "spark.sql.catalog.lake": "org.apache.iceberg.spark.SparkCatalog",
        "spark.sql.catalog.lake.type": "hadoop",
        "spark.sql.catalog.lake.warehouse": tmp_path_factory.mktemp("lake"),
    }
    python = str(CLIENTS / "venv-41/bin/python")
    berth = Up(tmp_path_factory.mktemp("up"), "--python", python, "--warm", "1", "--set", f"agent.profiles.default.confs={table(confs)}")
    yield berth
    berth.stop()


@pytest.fixture
def spark(up):
    session = SparkSession.builder.remote(f"{up.url}/;user_id={USER}").create()
    activate(session)
    session.sql("create namespace if not exists lake.shop")
    session.sql("use lake.shop")
    yield session
    session.sql("drop table if exists w purge")
    session.stop()


MERGE = "merge into w using slow on w.n = slow.n when matched then update set n = slow.n when not matched then insert *"
WRITES = {"merge": MERGE, "insert": "insert into w select * from slow", "overwrite": "insert overwrite w select * from slow"}


@pytest.mark.parametrize("kind", WRITES)
def test_i3_a_write_that_was_running_is_told_to_be_unknown_and_not_run_again(up, spark, kind):
    """connect#67: a merge is a write as any other"""
    spark.sql("create table w (n bigint) using iceberg")
    slow_rows(spark).createOrReplaceTempView("slow")
    writing = Writing(lambda: spark.sql(WRITES[kind]))
    wait_until(lambda: is_running(up.ask, USER), 60, "the write is not recorded")
    up.kill_driver(USER)
    assert writing.is_told_unknown()
    assert copies(spark, "w") in (0, 1), "the session goes on, and what is there is there at most once"


def test_i3_a_merge_that_was_done_is_not_done_again(up, spark):
    """connect#67: the driver is killed after it, and the session's state is rebuilt without it"""
    spark.sql("create table w (n bigint, times bigint) using iceberg")
    spark.sql("insert into w values (1, 0), (2, 0)")
    spark.sql("create temp view more as select * from values (2L), (3L) as rows(n)")
    spark.sql("""merge into w using more on w.n = more.n
                 when matched then update set times = times + 1 when not matched then insert (n, times) values (more.n, 0)""")
    up.kill_driver(USER)
    rows = spark.table("w").orderBy("n").collect()
    assert [tuple(row) for row in rows] == [(1, 0), (2, 1), (3, 0)], "of the catalog and database that were in use"
    snapshots = spark.sql("select snapshot_id from lake.shop.w.snapshots order by committed_at").collect()
    assert len(snapshots) == 2
    assert spark.sql(f"select count(*) from w version as of {snapshots[0].snapshot_id}").first()[0] == 2


def test_procedures_and_branches_are_writes_that_are_done_once(up, spark):
    """connect#67: what Iceberg adds to SQL"""
    spark.sql("create table w (n bigint) using iceberg")
    spark.sql("insert into w values (1)")
    spark.sql("alter table w create branch aside")
    first = spark.sql("select snapshot_id from lake.shop.w.snapshots").first().snapshot_id
    spark.sql("insert into w values (2)")
    spark.sql(f"call lake.system.rollback_to_snapshot('shop.w', {first})").collect()
    spark.sql("insert into w values (3)")
    up.kill_driver(USER)
    assert sorted(row.n for row in spark.table("w").collect()) == [1, 3], "the rollback was not run again"
    assert spark.sql("select n from w version as of 'aside'").collect() == [(1,)]
