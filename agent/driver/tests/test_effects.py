"""What Spark and Py4J tell of the effects of code."""

import socket

from driver import Driver


def effects(driver, code):
    result = driver.run("pyspark", code)
    assert result["state"] in ("ok", "error"), result
    return result["effects"]


def test_i3_an_insert_before_many_queries_is_seen(driver):
    driver.run("pyspark", "spark.sql('create table many (n int) using parquet')")
    code = "spark.sql('insert into many values (1)')\nfor _ in range(210): spark.sql('select 1').collect()"
    assert effects(driver, code) == ["spark:InsertIntoHadoopFsRelationCommand"]


def test_queries_of_all_kinds_have_no_effects(driver):
    for code in (
        "for n in range(210): spark.range(2).collect()",
        "spark.range(10).createOrReplaceTempView('v')\nspark.sql('select count(*) from v join v as w using (id)').show()",
        "sc.parallelize([1, 2, 3], 2).map(lambda n: (n, n)).groupByKey().count()",
        "sc.parallelize([], 0 or 1).collect()",
        "spark.range(5).toPandas()\nspark.range(5).cache().count()",
        "spark.sql('select 1 / (id - id) from range(3)').collect()",
        "spark.sql('select nothing').collect()",
        "sc.parallelize([1]).map(lambda n: 1 / 0).collect()",
        "spark.conf.set('spark.sql.shuffle.partitions', '3')\nspark.catalog.listTables()\nspark.conf.getAll",
        "sorted(map(repr, (spark, sc, spark.range(1), spark.range(1).schema)))[0]",
        "from pyspark.sql import functions as f\nspark.range(3).select(f.udf(lambda n: n, 'long')('id')).collect()",
        "from pyspark.ml.feature import VectorAssembler\n"
        "VectorAssembler(inputCols=['id'], outputCol='x').transform(spark.range(2)).collect()",
    ):
        assert effects(driver, code) == [], code


def test_connections_of_spark_are_none_of_code(driver):
    """Nor do they make code count that comes after them."""
    for code in (
        "import pandas\nspark.createDataFrame(pandas.DataFrame({'a': range(3)})).groupBy('a').count().toPandas()",
        "spark.conf.set('spark.sql.execution.arrow.pyspark.enabled', 'true')\nspark.range(5000).toPandas().sum()\n"
        "spark.conf.unset('spark.sql.execution.arrow.pyspark.enabled')",
        "spark.range(9).mapInPandas(lambda parts: parts, 'id long').collect()\nlist(spark.range(9).toLocalIterator())",
        "total = sc.accumulator(0)\nsc.parallelize(range(9)).map(lambda n: total.add(n) or n).collect()\n"
        "sc.broadcast([1] * 100000).value[0]",
        "sc.parallelize(range(200000)).map(str).take(1)\n"
        "spark.createDataFrame([(n,) for n in range(50000)], 'n long').count()",
        "seen = []\nquery = (spark.readStream.format('rate').load().writeStream.trigger(once=True)\n"
        "    .foreachBatch(lambda batch, number: seen.append(batch.count())).start())\nquery.awaitTermination()",
        "import threading\nwork = threading.Thread(target=lambda: spark.range(3).collect())\nwork.start()\nwork.join()",
        "1",
    ):
        assert effects(driver, code) == [], code
    assert driver.show("pyspark", "len(seen)") == "1"


def test_i3_code_after_a_connection_of_its_own_counts(tmp_path):
    """Python tells of no bytes that go over one which is there, whoever has it."""
    own = Driver(tmp_path)
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            assert effects(own, "spark.range(3).toPandas().sum()") == []
            opened = f"import socket\nkept = socket.create_connection(('127.0.0.1', {server.getsockname()[1]}))"
            assert effects(own, opened) == ["socket:127.0.0.1"]
            assert effects(own, "kept.sendall(b'once')") == ["client:kept connection"]
            assert effects(own, "1") == ["client:kept connection"]
            assert own.run("sql", "select 1")["effects"] == []
    finally:
        own.stop()


def test_i3_calls_of_code_to_the_jvm_count(driver):
    assert effects(driver, "sc._jvm.java.lang.System.setProperty('a', 'b')") == ["jvm:java.lang.System.setProperty"]
    assert effects(driver, "sc._gateway.jvm.java.io.File('/tmp/x').exists()") == ["jvm:exists", "jvm:java.io.File.new"]
    assert "jvm:write" in effects(driver, "spark.range(1)._jdf.write()")
