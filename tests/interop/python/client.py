"""A PySpark client of any version. What it says and when it waits: tests/foreign.py."""

import re
import sys

from pyspark.sql import SparkSession


def main(remote, query):
    spark = SparkSession.builder.remote(remote).getOrCreate()
    spark.range(100).createOrReplaceTempView("v")
    spark.conf.set("spark.sql.shuffle.partitions", "7")
    pause("built")
    total = spark.sql("select sum(id) as s from v").first().s
    print("state", total, spark.conf.get("spark.sql.shuffle.partitions"), flush=True)
    print("error", error_of(spark), flush=True)
    pause(f"rows {stream(spark.sql(query).toLocalIterator())}")
    spark.stop()


def error_of(spark):
    try:
        spark.table("nothing").collect()
    except Exception as error:
        return re.search(r"\[([A-Z_]+)\]", str(error)).group(1)


def stream(rows):
    seen = 0
    for row in rows:
        if row.id != seen:
            raise ValueError(f"row {row.id} came instead of {seen}")
        seen += 1
        if seen == 1:
            pause("streaming")
    return seen


def pause(said):
    print(said, flush=True)
    sys.stdin.readline()


main(*sys.argv[1:])
