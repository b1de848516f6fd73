"""Builds state, waits for a line, uses the state."""

import sys

from pyspark.sql import SparkSession

spark = SparkSession.builder.remote(sys.argv[1]).getOrCreate()
spark.conf.set("spark.sql.shuffle.partitions", "7")
spark.range(100).createOrReplaceTempView("v")
print("built", flush=True)
sys.stdin.readline()
total = spark.sql("select sum(id) as s from v").first().s
print(total, spark.conf.get("spark.sql.shuffle.partitions"), flush=True)
