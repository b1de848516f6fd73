"""Runs Berth on one node, kills the driver of an ordinary PySpark session half-way, and shows that it goes on."""

import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from berth_up import Up  # noqa: E402
from pyspark.sql import SparkSession  # noqa: E402

ROWS = 1_000_000
timeline = []


def timed(what, work):
    print(f".. {what}", flush=True)
    started = time.monotonic()
    value = work()
    timeline.append((what, time.monotonic() - started))
    return value


def build(spark):
    spark.conf.set("spark.sql.shuffle.partitions", "7")
    spark.range(100).createOrReplaceTempView("v")
    spark.createDataFrame([(1, "a"), (2, "b")], ["n", "t"]).createOrReplaceTempView("local")
    spark.udf.register("plus1", lambda x: x + 1, "long")


def answers(spark):
    total = spark.sql("select sum(plus1(id)) as s from v").first().s
    return total, spark.table("local").count(), spark.conf.get("spark.sql.shuffle.partitions")


def stream(spark, berth):
    seen = 0
    for row in spark.range(ROWS).toLocalIterator():
        if row.id != seen:
            raise SystemExit(f"demo: row {row.id} came where {seen} was due")
        seen += 1
        if seen == ROWS // 4:
            berth.kill_driver("demo")
            print(f".. driver killed with SIGKILL after {seen} rows", flush=True)
    return seen


def main():
    berth = timed("start berth up", lambda: Up(Path(tempfile.mkdtemp(prefix="berth-demo-")), "--warm", "2"))
    try:
        timed("first driver starts and warms up", berth.wait_warm)
        spark = SparkSession.builder.remote(f"{berth.url}/;user_id=demo").getOrCreate()
        timed("open the session, first answer", lambda: spark.version)
        timed("build views, confs and a Python UDF", lambda: build(spark))
        before = timed("query them", lambda: answers(spark))
        timed("a spare driver is warm", berth.wait_warm)
        rows = timed(f"stream {ROWS} rows, driver killed after a quarter", lambda: stream(spark, berth))
        after = timed("query the same state on the new driver", lambda: answers(spark))
        if after != before or rows != ROWS:
            raise SystemExit(f"demo: {before} before the kill, {after} after it, {rows} rows")
        timed("a spare driver is warm again", berth.wait_warm)
        berth.kill_driver("demo")
        timed("from the kill of an idle driver to the next answer", lambda: spark.sql("select 1").collect())
        spark.stop()
    finally:
        berth.stop()
    print()
    for what, seconds in timeline:
        print(f"{seconds:8.2f} s  {what}")
    print("\nThe session kept its rows and its state. Log and data:", berth.data)


main()
