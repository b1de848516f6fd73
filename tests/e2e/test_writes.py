"""What must not happen twice. Cases: spec of Spark Connect, section 7."""

import threading

import grpc
import pytest
from berth_up import wait_until
from gate import Gate
from pyspark.errors import PySparkException
from pyspark.sql.functions import udf
from slow_write import Writing, copies, is_running, slow_rows
from wire import Wire, error_of


@pytest.mark.parametrize("kind", ["append", "ctas"])
def test_i3_a_write_that_was_running_is_told_to_be_unknown_and_not_run_again(up, spark, user, kind):
    """connect#67"""
    spark.sql("drop table if exists w")
    rows = slow_rows(spark)
    rows.createOrReplaceTempView("slow")
    if kind == "append":
        spark.sql("create table w (n bigint) using parquet")
        writing = Writing(lambda: rows.write.mode("append").saveAsTable("w"))
    else:
        writing = Writing(lambda: spark.sql("create table w using parquet as select * from slow"))
    wait_until(lambda: is_running(up.ask, user), 60, "the write is not recorded")
    up.kill_driver(user)
    assert writing.is_told_unknown()
    # The session goes on, and whatever is there is there at most once.
    assert spark.range(3).count() == 3
    if spark.catalog.tableExists("w"):
        assert copies(spark, "w") in (0, 1)
    spark.sql("drop table if exists w")


@pytest.mark.parametrize("killed", [False, True])
def test_i3_a_client_that_sends_its_write_again_does_not_write_again(up, spark, user, killed):
    """connect#68: the answer is lost on its way; with the driver, and without"""
    spark.sql("drop table if exists w")
    spark.sql("create table w (n bigint) using parquet")
    wire = Wire(up.endpoints["connect"], user, spark.session_id)
    request = wire.plan("")
    request.plan.command.sql_command.sql = "insert into w select id from range(0, 40000000, 1, 4) where id < 400"
    stream = wire.execute(request)
    wait_until(lambda: is_running(up.ask, user), 60, "the write is not recorded")
    stream.cancel()
    if killed:
        up.kill_driver(user)
    for _ in range(2):
        if killed:
            with pytest.raises(grpc.RpcError) as raised:
                list(wire.execute(request))
            assert error_of(raised)[0] == "BERTH.OUTCOME_UNKNOWN"
        else:
            assert list(wire.execute(request))[-1].HasField("result_complete")
    assert copies(spark, "w") in ((0, 1) if killed else (1,))
    spark.sql("drop table w")
    wire.close()


def test_i3_a_result_without_order_is_an_error_and_never_mixed_rows(up, spark, user, tmp_path):
    """connect#65"""
    gate = Gate(tmp_path)
    gate.register(spark)
    # As many partitions as it is told, each in the order of numbers that another run draws anew.
    spark.conf.set("spark.sql.adaptive.enabled", "false")
    spark.conf.set("spark.sql.shuffle.partitions", "8")
    rows = spark.sql("select gate(id) as id, r from (select id, rand() as r from range(800000) order by r)").toLocalIterator()
    seen = [next(rows).id for _ in range(50_000)]
    up.wait_warm()
    up.kill_driver(user)
    gate.open()
    with pytest.raises(PySparkException, match="(?i)deterministic"):
        for row in rows:
            seen.append(row.id)
    assert len(seen) == len(set(seen)) < 800_000
    assert spark.range(3).count() == 3


def test_a_state_change_that_was_applied_is_not_told_to_exist_already(up, spark, user):
    """connect#69: created once before the kill, and once by the client's own second thought after it"""
    spark.sql("create temp view once as select 1 as n")
    up.kill_driver(user)
    assert spark.table("once").collect() == [(1,)]
    with pytest.raises(PySparkException, match="ALREADY_EXISTS"):
        spark.sql("create temp view once as select 2 as n")


def test_i2_artifacts_arrive_although_the_driver_dies_under_the_upload(up, spark, user, tmp_path):
    """connect#70: 48 MiB in chunks; the driver is killed while they come"""
    big = tmp_path / "big.txt"
    big.write_bytes(b"0123456789abcdef" * (3 << 20))
    up.wait_warm()
    done = []
    sending = threading.Thread(target=lambda: done.append(spark.addArtifacts(str(big), file=True)))
    sending.start()
    wait_until(lambda: is_uploading(up, user, "big.txt"), 60, "the upload is over before it was seen")
    up.kill_driver(user)
    sending.join(timeout=180)
    assert done, "the upload did not end"

    @udf("long")
    def size():
        import os
        from pyspark import SparkFiles
        return os.path.getsize(SparkFiles.get("big.txt"))
    assert spark.range(1).select(size()).first()[0] == 48 << 20


def is_uploading(up, user, name):
    rows = up.ask("explain", up.session(owner=user)["id"])
    return any(name in row["what"] and row["outcome"] == "unknown" for row in rows)


def test_five_queries_at_once_all_finish(up, spark, user):
    """connect#71: they are running when their driver is killed"""
    up.wait_warm()
    wire = Wire(up.endpoints["connect"], user, spark.session_id)
    sums = {}

    def run(n):
        sums[n] = spark.sql(f"select sum(id % 1000) as s from range({40 + n}0000000)").first().s

    threads = [threading.Thread(target=run, args=(n,)) for n in range(5)]
    for thread in threads:
        thread.start()
    wait_until(wire.any_running, 60, "no query runs")
    before = up.session(owner=user)["epoch"]
    up.kill_driver(user)
    for thread in threads:
        thread.join(timeout=240)
    assert sums == {n: (40 + n) * 10_000 * 499500 for n in range(5)}
    assert up.session(owner=user)["epoch"] == before + 1
    wire.close()


def test_i1_a_driver_that_hangs_is_replaced(up, spark, user):
    """connect#73: frozen, then killed by its own fence or agent; nothing of it serves afterwards"""
    import os
    import signal

    spark.range(10).createOrReplaceTempView("v")
    up.wait_warm()
    (session,) = [row for row in up.ask("sessions") if row["owner"] == user]
    (driver,) = [row for row in up.ask("drivers") if row["id"] == session["driver"]]
    os.kill(driver["jvm_pid"], signal.SIGSTOP)
    try:
        assert spark.table("v").count() == 10
        wait_until(lambda: driver["id"] not in [row["id"] for row in up.ask("drivers")], 60, "the frozen driver stays")
    finally:
        try:
            os.kill(driver["jvm_pid"], signal.SIGCONT)
        except ProcessLookupError:
            pass
    assert spark.table("v").count() == 10


def test_i8_a_query_that_kills_its_drivers_is_given_up(up, spark, user):
    """connect#75: out of memory on two drivers, one after the other; the session goes on with its state"""
    spark.range(5).createOrReplaceTempView("v")
    up.wait_warm()
    with pytest.raises(PySparkException, match="STATEMENT_KILLS_DRIVER"):
        spark.sql("select length(repeat('x', 2000000000)) as n").collect()
    assert spark.table("v").count() == 5
    assert up.session(owner=user)["epoch"] == 3


def test_i8_a_change_that_kills_its_drivers_is_given_up(up, spark, user):
    """connect#75: of a change of the session, the loss comes while it is made again, too"""
    spark.range(5).createOrReplaceTempView("v")
    up.wait_warm()
    with pytest.raises(PySparkException, match="STATEMENT_KILLS_DRIVER"):
        spark.sql("cache table t as select length(repeat('x', 2000000000)) as n")
    assert spark.table("v").count() == 5
    session = up.session(owner=user)
    assert session["epoch"] == 4
    assert any("not made again, since it killed 2 drivers" in row["what"] for row in up.ask("explain", session["id"]))
