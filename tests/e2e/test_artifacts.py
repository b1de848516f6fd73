"""What clients upload: a jar with a function, archives, files and modules, before and after their driver is killed."""

import tarfile
import zipfile

import pytest
from applications import compile_java
from pyspark.errors import PySparkException
from pyspark.sql.functions import udf
from pyspark.sql.types import LongType

DOUBLED = """
package berth.test;

public class Doubled implements org.apache.spark.sql.api.java.UDF1<Long, Long> {
    public Long call(Long n) {
        return n == null ? null : 2 * n;
    }
}
"""


@pytest.fixture(scope="module")
def jar(tmp_path_factory):
    """A jar with a function."""
    directory = tmp_path_factory.mktemp("jar")
    source, classes, made = directory / "Doubled.java", directory / "classes", directory / "doubled.jar"
    source.write_text(DOUBLED)
    compile_java(classes, source)
    with zipfile.ZipFile(made, "w") as archive:
        archive.write(classes / "berth/test/Doubled.class", "berth/test/Doubled.class")
    return made


def files(directory):
    """A file, a Python module, and an archive with a file in it."""
    plain, module, inner, archive = (directory / name for name in ("plain.txt", "upper.py", "inner.txt", "more.tar.gz"))
    plain.write_text("plain")
    module.write_text("def upper(text):\n    return text.upper()\n")
    inner.write_text("inner")
    with tarfile.open(archive, "w:gz") as made:
        made.add(inner, "inner.txt")
    return plain, module, archive


def read_all(spark):
    """What a worker sees of them."""
    @udf("string")
    def read():
        import os
        import upper
        from pyspark import SparkFiles
        paths = (SparkFiles.get("plain.txt"), os.path.join(SparkFiles.getRootDirectory(), "unpacked", "inner.txt"))
        return upper.upper(" ".join(open(path).read() for path in paths))

    return spark.range(1).select(read()).first()[0], spark.sql("select doubled(21L)").first()[0]


def test_i2_uploads_of_every_kind(up, spark, user, tmp_path, jar):
    """connect#45, connect#47: a name that is taken stays taken, too"""
    plain, module, archive = files(tmp_path)
    spark.addArtifacts(str(jar))
    spark.udf.registerJavaFunction("doubled", "berth.test.Doubled", LongType())
    spark.addArtifacts(str(plain), file=True)
    spark.addArtifacts(str(module), pyfile=True)
    spark.addArtifacts(f"{archive}#unpacked", archive=True)
    others = tmp_path / "others"
    others.mkdir()
    (others / "upper.py").write_text("def upper(text):\n    return 'other bytes'\n")

    def taken():
        with pytest.raises(PySparkException, match="ARTIFACT_ALREADY_EXISTS"):
            spark.addArtifacts(str(others / "upper.py"), pyfile=True)

    assert read_all(spark) == ("PLAIN INNER", 42)
    taken()
    up.wait_warm()
    up.kill_driver(user)
    assert read_all(spark) == ("PLAIN INNER", 42)
    taken()
    assert read_all(spark) == ("PLAIN INNER", 42)
