"""Applications that tests submit."""

import os
import subprocess
import zipfile
from pathlib import Path

JAVA = """
public class Counting {
    public static void main(String[] arguments) {
        var spark = org.apache.spark.sql.SparkSession.builder().getOrCreate();
        System.out.println("counted " + spark.range(Long.parseLong(arguments[0])).count());
        spark.stop();
    }
}
"""


def counting_jar(directory: Path):
    """A jar whose class `Counting` counts as many rows as it is told to."""
    import pyspark

    (directory / "Counting.java").write_text(JAVA)
    jars = os.pathsep.join(map(str, (Path(pyspark.__file__).parent / "jars").glob("*.jar")))
    # The compiler that every Java 17 brings.
    compiler = ["java", "-m", "jdk.compiler/com.sun.tools.javac.Main", "-cp", jars, "-d", str(directory)]
    subprocess.run([*compiler, str(directory / "Counting.java")], check=True)
    with zipfile.ZipFile(directory / "counting.jar", "w") as archive:
        archive.write(directory / "Counting.class", "Counting.class")
    return directory / "counting.jar"
