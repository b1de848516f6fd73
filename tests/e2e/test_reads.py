"""An unmodified PySpark client whose driver is killed. Cases: spec of Spark Connect, section 7."""

import uuid

import pytest
from berth_up import wait_until
from gate import Gate
from pyspark.errors import AnalysisException
from pyspark.sql import SparkSession
from wire import Wire


def test_i2_state_is_back_after_an_idle_driver_is_killed_twice(up, spark, user):
    """connect#2, #41, #43, #44, #45, #72"""
    assert spark.version.startswith("4.")
    spark.conf.set("spark.sql.shuffle.partitions", "7")
    spark.sql("set spark.sql.session.timeZone = Asia/Tokyo")
    spark.range(100).createOrReplaceTempView("v")
    spark.sql("create temp view w as select id * 2 as d from v")
    spark.createDataFrame([(1, "a")], ["n", "t"]).createOrReplaceTempView("local")
    spark.range(1).createOrReplaceTempView("dropped")
    spark.sql("drop view dropped")
    spark.udf.register("plus1", lambda x: x + 1, "long")
    for _ in range(2):
        up.wait_warm()
        up.kill_driver(user)
        assert spark.sql("select sum(plus1(d)) as s from w").first().s == 10000
        assert spark.conf.get("spark.sql.shuffle.partitions") == "7"
        assert spark.conf.get("spark.sql.session.timeZone") == "Asia/Tokyo"
        assert spark.table("local").collect() == [(1, "a")]
        with pytest.raises(AnalysisException, match="TABLE_OR_VIEW_NOT_FOUND"):
            spark.table("dropped").collect()
    (session,) = [row for row in up.ask("sessions") if row["owner"] == user]
    assert session["epoch"] == 3


def test_i2_a_deterministic_result_goes_on_where_it_was(up, spark, user, tmp_path):
    """connect#64: the same rows, no repeat, no gap"""
    resumed = 'berth_statements_rerun_total{class="read",delivered="some"}'
    before = up.metric(resumed)
    gate = Gate(tmp_path)
    gate.register(spark)
    rows = spark.range(0, 800_000, 1, 16).selectExpr("gate(id) as id", "rpad('', 100, 'x') as pad").toLocalIterator()
    # All of the first partition, in more than one batch.
    seen = [next(rows).id for _ in range(50_000)]
    up.wait_warm()
    up.kill_driver(user)
    gate.open()
    seen += [row.id for row in rows]
    assert seen == list(range(800_000))
    assert up.metric(resumed) == before + 1


def test_two_users_with_one_session_id_stay_apart(up):
    """connect#5"""
    session_id = str(uuid.uuid4())
    users = [f"a{uuid.uuid4().hex[:8]}", f"b{uuid.uuid4().hex[:8]}"]
    sessions = [SparkSession.builder.remote(f"{up.url}/;user_id={user};session_id={session_id}").create() for user in users]
    try:
        for user, session in zip(users, sessions):
            session.conf.set("berth.test", user)
        assert [session.conf.get("berth.test") for session in sessions] == users
    finally:
        for session in sessions:
            session.stop()


def test_i2_a_read_is_killed_before_and_after_its_first_answers(up, spark, user):
    """connect#62, connect#63: before any response, after progress only, and after the schema"""
    before_any = spark.sql("select sum(hash(id)) as n from range(40000000)")
    expected = before_any.collect()
    wire = Wire(up.endpoints["connect"], user, spark.session_id)
    for seen in ("none", "progress", "schema"):
        up.wait_warm()
        request = wire.plan("select sum(hash(id)) as n from range(150000000)")
        responses = wire.execute(request)
        got = []
        if seen == "none":
            wait_until(lambda: wire.running(request.operation_id), 60, "the query does not run")
        else:
            got = list(until(responses, seen))
        up.kill_driver(user)
        got += list(responses)
        assert sum(each.arrow_batch.row_count for each in got) == 1 and got[-1].HasField("result_complete")
        assert len([each for each in got if each.HasField("schema")]) == 1
        assert before_any.collect() == expected
    wire.close()


def until(responses, seen):
    """Responses up to the first progress, or the schema."""
    for each in responses:
        yield each
        if each.HasField("schema") if seen == "schema" else each.execution_progress.num_inflight_tasks:
            return


def test_i2_a_chunked_batch_goes_on_in_its_middle(up, spark, user):
    """connect#66: rows larger than a message come in chunks; the driver dies between two of them"""
    wire = Wire(up.endpoints["connect"], user, spark.session_id)
    request = wire.plan("select id, repeat(cast(id % 10 as string), 8000000) as pad from range(0, 8, 1, 1)")
    chunking = request.request_options.add().result_chunking_options
    chunking.allow_arrow_batch_chunking = True
    chunking.preferred_arrow_chunk_size = 2 << 20
    whole = list(wire.execute(request))
    chunks = [each.arrow_batch for each in whole if each.HasField("arrow_batch")]
    assert max(chunk.num_chunks_in_batch for chunk in chunks) >= 3
    request.operation_id = str(uuid.uuid4())
    up.wait_warm()
    responses = wire.execute(request)
    got = []
    while not got or got[-1].arrow_batch.chunk_index != 1:
        got.append(next(responses))
    up.kill_driver(user)
    got += list(responses)
    assert [each.arrow_batch for each in got if each.HasField("arrow_batch")] == chunks
    wire.close()
