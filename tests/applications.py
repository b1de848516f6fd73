"""Applications that tests submit."""

import os
import subprocess
import zipfile
from pathlib import Path

COUNTING = """
public class Counting {
    public static void main(String[] arguments) {
        var spark = org.apache.spark.sql.SparkSession.builder().getOrCreate();
        System.out.println("counted " + spark.range(Long.parseLong(arguments[0])).count());
        spark.stop();
    }
}
"""
DOUBLING = """
public class Doubling extends org.apache.hadoop.hive.ql.exec.UDF {
    public long evaluate(long n) {
        return 2 * n;
    }
}
"""


def counting_jar(directory: Path):
    """A jar whose class `Counting` counts as many rows as it is told to."""
    return jar(directory, "Counting", COUNTING)


def doubling_jar(directory: Path):
    """A jar whose class `Doubling` is a function of Hive's."""
    return jar(directory, "Doubling", DOUBLING)


def spark_jars():
    """The class path of PySpark's own jars."""
    import pyspark

    return os.pathsep.join(map(str, (Path(pyspark.__file__).parent / "jars").glob("*.jar")))


def compile_java(classes: Path, *sources: Path):
    """Compiles against Spark, with the compiler that every Java 17 brings, also one without `javac`."""
    compiler = ["java", "-m", "jdk.compiler/com.sun.tools.javac.Main", "-cp", spark_jars(), "-d", str(classes)]
    subprocess.run([*compiler, *map(str, sources)], check=True, timeout=120)


def jar(directory: Path, name, source):
    """A jar with one class of this name."""
    (directory / f"{name}.java").write_text(source)
    compile_java(directory, directory / f"{name}.java")
    made = directory / f"{name.lower()}.jar"
    with zipfile.ZipFile(made, "w") as archive:
        archive.write(directory / f"{name}.class", f"{name}.class")
    return made
