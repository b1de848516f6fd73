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


def jar(directory: Path, name, source):
    """A jar with one class of this name."""
    import pyspark

    (directory / f"{name}.java").write_text(source)
    jars = os.pathsep.join(map(str, (Path(pyspark.__file__).parent / "jars").glob("*.jar")))
    # The compiler that every Java 17 brings.
    compiler = ["java", "-m", "jdk.compiler/com.sun.tools.javac.Main", "-cp", jars, "-d", str(directory)]
    subprocess.run([*compiler, str(directory / f"{name}.java")], check=True)
    made = directory / f"{name.lower()}.jar"
    with zipfile.ZipFile(made, "w") as archive:
        archive.write(directory / f"{name}.class", f"{name}.class")
    return made
