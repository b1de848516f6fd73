"""A session with much to rebuild: a thousand changes, a gigabyte of uploads."""

import time

from pyspark.sql.functions import udf

FILES, MIB = 8, 128


def write_files(directory):
    for n in range(FILES):
        path = directory / f"large-{n}.bin"
        path.write_bytes(f"{n:016d}".encode() * (MIB << 16))
        yield path


def sizes(spark):
    """How large the uploads are, and how they begin, where a worker sees them."""
    files = FILES

    @udf("array<string>")
    def look():
        import os
        from pyspark import SparkFiles
        paths = [SparkFiles.get(f"large-{n}.bin") for n in range(files)]
        return [f"{os.path.getsize(path) >> 20} {open(path).read(16)}" for path in paths]

    return spark.range(1).select(look()).first()[0]


def test_i2_a_session_with_much_to_rebuild_is_back(up, spark, user, tmp_path):
    """connect#81: what later changes replaced is not made again"""
    for n in range(1000):
        spark.conf.set("berth.last", str(n))
        spark.range(n).createOrReplaceTempView(f"v{n % 800}")
    for path in write_files(tmp_path):
        spark.addArtifacts(str(path), file=True)
        path.unlink()
    expected = [f"{MIB} {n:016d}" for n in range(FILES)]
    assert sizes(spark) == expected
    up.wait_warm()
    up.kill_driver(user)
    begun = time.monotonic()
    assert spark.table("v199").count() == 999
    print(f"1,800 changes of which 801 count, 1 GiB of uploads: back after {time.monotonic() - begun:.1f} s")
    assert spark.table("v799").count() == 799
    assert spark.conf.get("berth.last") == "999"
    assert sizes(spark) == expected
