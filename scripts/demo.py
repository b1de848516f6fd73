"""Runs Berth on one node, kills the driver of an ordinary PySpark session half-way, and shows that it goes on."""

import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from berth_up import Up  # noqa: E402
from livy_client import LivySession  # noqa: E402
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
    # Wide enough that most of it has not left the driver when that is killed.
    for row in spark.range(0, ROWS, 1, 16).selectExpr("id", "rpad('', 100, 'x') as pad").toLocalIterator():
        if row.id != seen:
            raise SystemExit(f"demo: row {row.id} came where {seen} was due")
        seen += 1
        if seen == ROWS // 4:
            berth.kill_driver("demo")
            print(f".. driver killed with SIGKILL after {seen} rows", flush=True)
    return seen


PI = """
import random
def inside(_):
    x, y = random.random(), random.random()
    return x * x + y * y < 1
count = 200000
4.0 * sc.parallelize(range(count)).filter(inside).count() / count
"""


def pi(livy, what):
    value = float(timed(what, lambda: livy.run(PI)))
    if not 3.1 < value < 3.2:
        raise SystemExit(f"demo: pi came out as {value}")


def over_livy(berth):
    """The statement of every Livy tutorial, before and after its driver is killed."""
    livy = timed("Livy: start a pyspark session", lambda: LivySession(berth.endpoints["livy"]).wait_idle())
    pi(livy, "Livy: Monte-Carlo pi")
    livy.run("kept = 41")
    timed("a spare driver is warm once more", berth.wait_warm)
    berth.kill_driver(dialect="livy")
    value = timed("Livy: from the kill to the next answer, earlier statements replayed", lambda: livy.run("kept + 1"))
    if value != "42":
        raise SystemExit(f"demo: kept + 1 is {value} after the kill")
    pi(livy, "Livy: Monte-Carlo pi on the new driver")
    livy.close()


def over_connect(berth):
    spark = SparkSession.builder.remote(f"{berth.url}/;user_id=demo").getOrCreate()
    timed("Connect: open the session, first answer", lambda: spark.version)
    timed("Connect: build views, confs and a Python UDF", lambda: build(spark))
    before = timed("Connect: query them", lambda: answers(spark))
    timed("a spare driver is warm", berth.wait_warm)
    rows = timed(f"Connect: stream {ROWS} rows, driver killed after a quarter", lambda: stream(spark, berth))
    after = timed("Connect: query the same state on the new driver", lambda: answers(spark))
    if after != before or rows != ROWS:
        raise SystemExit(f"demo: {before} before the kill, {after} after it, {rows} rows")
    timed("a spare driver is warm again", berth.wait_warm)
    berth.kill_driver("demo")
    timed("Connect: from the kill of an idle driver to the next answer", lambda: spark.sql("select 1").collect())
    spark.stop()


def main():
    berth = timed("start berth up", lambda: Up(Path(tempfile.mkdtemp(prefix="berth-demo-")), "--warm", "2"))
    try:
        timed("first driver starts and warms up", berth.wait_warm)
        over_connect(berth)
        timed("a spare driver is warm for Livy", berth.wait_warm)
        over_livy(berth)
    finally:
        berth.stop()
    print()
    for what, seconds in timeline:
        print(f"{seconds:8.2f} s  {what}")
    print("\nBoth sessions kept their state. Log and data:", berth.data)


main()
