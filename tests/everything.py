"""Everything that a session can have: made once, looked at before and after its driver or node is lost.

Cases: spec of Spark Connect, section 7, 41 to 50 and 54.
"""

import zipfile

import pandas as pd
import pytest
from pyspark.errors import PySparkException
from pyspark.sql.functions import pandas_udf, udf, udtf
from pyspark.sql.types import IntegerType


def functions():
    """Functions that are pickled by value: the workers do not have this module."""

    class UpTo:
        def eval(self, n: int):
            for i in range(n):
                yield (i,)

    def doubled(values: pd.Series) -> pd.Series:
        return values * 2

    def value_of_artifact():
        import berth_helper
        return berth_helper.value()

    return UpTo, doubled, value_of_artifact


def build(spark, tmp_path):
    """State of every kind; what is made before the kill and used after it."""
    up_to, doubled, _ = functions()
    spark.conf.set("spark.sql.shuffle.partitions", "7")
    spark.conf.set("berth.gone", "1")
    spark.conf.unset("berth.gone")
    spark.sql("set spark.sql.session.timeZone = Asia/Tokyo")
    spark.sql("create database if not exists d")
    spark.sql("use d")
    spark.sql("create table if not exists t (n int) using parquet")
    spark.sql("insert into t values (1), (2)")
    spark.range(100).createOrReplaceTempView("v")
    spark.range(3).createOrReplaceTempView("replaced")
    spark.range(5).createOrReplaceTempView("replaced")
    spark.sql("create temp view w as select id * 2 as d from v")
    spark.range(1).createOrReplaceTempView("gone_by_sql")
    spark.sql("drop view gone_by_sql")
    spark.range(1).createOrReplaceTempView("gone_by_catalog")
    spark.catalog.dropTempView("gone_by_catalog")
    spark.range(4).createOrReplaceGlobalTempView("g")
    spark.createDataFrame([(i, "x" * 100) for i in range(10_000)], ["n", "t"]).createOrReplaceTempView("local")
    spark.udf.register("plus1", lambda x: x + 1, "long")
    spark.udf.register("doubled", pandas_udf(doubled, "long"))
    spark.udtf.register("up_to", udtf(up_to, returnType="n: int"))
    spark.sql("create temporary function halved(n int) returns int return n / 2")
    spark.sql("declare variable age int default 20")
    spark.sql("set variable age = 21")
    archive = tmp_path / "helper.zip"
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("berth_helper.py", "def value():\n    return 42\n")
    spark.addArtifacts(str(archive), pyfile=True)
    frame = spark.range(10).withColumn("p", udf(lambda x: x + 1, IntegerType())("id"))
    spark.table("v").cache().count()
    clone = spark.cloneSession() if hasattr(spark, "cloneSession") else None
    return frame, clone


def gone(spark, name):
    with pytest.raises(PySparkException, match="TABLE_OR_VIEW_NOT_FOUND"):
        spark.table(name).collect()
    return "gone"


def look(spark, frame):
    """What every kind of state reads as."""
    one = lambda query: spark.sql(query).first()[0]  # noqa: E731
    _, _, value_of_artifact = functions()
    return {
        "conf": spark.conf.get("spark.sql.shuffle.partitions"),
        "unset conf": spark.conf.get("berth.gone", "none"),
        "time zone": spark.conf.get("spark.sql.session.timeZone"),
        "database": spark.catalog.currentDatabase(),
        "table": one("select sum(n) from t"),
        "view on view": one("select sum(d) from w"),
        "replaced view": spark.table("replaced").count(),
        "view dropped by SQL": gone(spark, "gone_by_sql"),
        "view dropped by the catalog": gone(spark, "gone_by_catalog"),
        "global view": spark.table("global_temp.g").count(),
        "local relation": spark.table("local").count(),
        "Python UDF": one("select sum(plus1(id)) from v"),
        "pandas UDF": one("select sum(doubled(id)) from v"),
        "UDTF": one("select count(*) from up_to(4)"),
        "SQL function": one("select halved(10)"),
        "variable": one("select age"),
        "artifact": spark.range(1).select(udf(value_of_artifact, "int")()).first()[0],
        "frame built before": frame.agg({"p": "sum"}).first()[0],
    }


EXPECTED = {
    "conf": "7",
    "unset conf": "none",
    "time zone": "Asia/Tokyo",
    "database": "d",
    "table": 3,
    "view on view": 9900,
    "replaced view": 5,
    "view dropped by SQL": "gone",
    "view dropped by the catalog": "gone",
    "global view": 4,
    "local relation": 10_000,
    "Python UDF": 5050,
    "pandas UDF": 9900,
    "UDTF": 4,
    "SQL function": 5,
    "variable": 21,
    "artifact": 42,
    "frame built before": 55,
}
