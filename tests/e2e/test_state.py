"""Everything that a session has, before and after its driver is killed. Cases: spec of Spark Connect, section 7."""

import pytest
from everything import EXPECTED, build, look
from pyspark.errors import PySparkException
from pyspark.sql.functions import udf


def test_i2_state_of_every_kind_is_back_after_each_of_two_kills(up, spark, user, tmp_path):
    """connect#2, #41 to #45, #47 to #50, #54, #72, and tables of the external catalog"""
    frame, clone = build(spark, tmp_path)
    assert look(spark, frame) == EXPECTED
    for _ in range(2):
        up.wait_warm()
        up.kill_driver(client_id=spark.session_id)
        assert look(spark, frame) == EXPECTED
    if clone is not None:
        assert clone.table("v").count() == 100
        clone.stop()


def test_clones_and_new_sessions_stand_on_their_own(up, spark, user):
    """connect#55, connect#56: after the loss of both drivers as before it"""
    spark.range(3).createOrReplaceTempView("v")
    spark.conf.set("berth.test", "both")
    clone, fresh = spark.cloneSession(), spark.newSession()
    clone.range(5).createOrReplaceTempView("v")
    clone.conf.set("berth.test", "clone")
    spark.range(7).createOrReplaceTempView("own")

    def seen(session):
        return [session.catalog.tableExists(name) and session.table(name).count() for name in ("v", "own")]

    def look():
        return [(seen(each), each.conf.get("berth.test", "none")) for each in (spark, clone, fresh)]

    expected = [([3, 7], "both"), ([5, False], "clone"), ([False, False], "none")]
    assert look() == expected
    for lost in (spark, clone):
        up.wait_warm()
        up.kill_driver(client_id=lost.session_id)
    assert look() == expected
    clone.stop()
    fresh.stop()


def test_what_only_the_lost_driver_had_fails_by_name_and_only_when_used(up, spark, user):
    """connect#51"""
    checkpointed = spark.range(5).localCheckpoint()
    assert checkpointed.count() == 5
    up.kill_driver(user)
    assert spark.range(3).count() == 3
    with pytest.raises(PySparkException, match="PINNED_STATE_LOST.*checkpoint") as raised:
        checkpointed.count()
    assert "DATAFRAME_NOT_FOUND" not in str(raised.value)
    assert spark.range(4).count() == 4


def test_tags_interrupt_what_carries_them_after_a_kill(up, spark, user):
    """connect#34: the ids that come back are the client's"""
    import threading

    up.wait_warm()
    up.kill_driver(user)
    spark.addTag("slow")
    ended = []

    def run():
        spark.addTag("slow")
        try:
            spark.sql("select count(*) from range(1000000000000) where hash(id) = 7").collect()
        except PySparkException as error:
            ended.append(str(error))

    thread = threading.Thread(target=run)
    thread.start()
    from berth_up import wait_until
    wait_until(lambda: spark.interruptTag("slow"), 60, "nothing with the tag runs")
    thread.join(timeout=60)
    assert ended and "CANCEL" in ended[0].upper()


def test_errors_read_as_from_the_driver_itself(shared):
    """connect#37"""
    with pytest.raises(PySparkException) as analysis:
        shared.sql("select nothing from range(1)").collect()
    assert analysis.value.getCondition() == "UNRESOLVED_COLUMN.WITH_SUGGESTION"
    assert analysis.value.getSqlState() == "42703"
    with pytest.raises(PySparkException) as run_time:
        shared.sql("select 1 / id from range(1)").collect()
    assert run_time.value.getCondition() == "DIVIDE_BY_ZERO"
    failing = udf(lambda: [][1], "int")
    with pytest.raises(PySparkException, match="IndexError"):
        shared.range(1).select(failing()).collect()


def test_i2_what_sql_did_to_temporary_views_is_done_to_them_again(up, spark, user):
    """connect#43: statements that reach permanent tables and views, too; these they change once (I3)"""
    for text in ("create or replace view kept as select 1 as n", "create temp view v as select 1 as n",
                 "create temp view w as select 1 as n", "create temp view on_w as select n + 1 as n from w",
                 "create global temp view g as select 1 as n", "create temp view r as select 1 as n",
                 "drop table v", "alter view w as select 2 as n", "alter view kept as select 3 as n",
                 "drop view global_temp.g", "alter view r rename to s", "execute immediate 'set berth.test = 5'"):
        spark.sql(text)
    up.wait_warm()
    up.kill_driver(user)
    assert [spark.table(name).collect() for name in ("w", "on_w", "kept")] == [[(2,)], [(3,)], [(3,)]]
    for gone in ("v", "global_temp.g", "r", "s"):
        with pytest.raises(PySparkException, match="TABLE_OR_VIEW_NOT_FOUND"):
            spark.table(gone).collect()
    said = " ".join(row["what"] for row in up.ask("explain", up.session(owner=user)["id"]))
    assert "ALTER VIEW R RENAME" in said and "EXECUTE IMMEDIATE" in said, said
    spark.sql("drop view kept")
