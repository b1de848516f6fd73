"""Spark's own JVM clients, of which PySpark brings the jars. Cases: spec of Spark Connect, section 7."""

from pathlib import Path

import pyspark
from foreign import ROWS, SAID, outlive_their_driver, remote

JVM = Path(__file__).parent / "jvm"
# What Spark asks of whoever runs its client on Java 17: Arrow reads memory by way of this package.
OPENED = "--add-opens=java.base/java.nio=ALL-UNNAMED"
# The server's jars have the same classes for another side, so Spark's launcher leaves them out too.
SERVER = ("spark-connect_", "spark-sql-api_")


def class_path():
    jars = Path(pyspark.__file__).parent / "jars"
    clients = sorted((jars / "connect-repl").glob("spark-connect-client-*.jar"))
    assert len(clients) == 2
    return ":".join(str(jar) for jar in [*clients, *jars.glob("*.jar")] if not jar.name.startswith(SERVER))


def test_i2_the_jvm_and_jdbc_clients_outlive_their_driver(up, user):
    """connect#43, #64: between statements and under a result"""
    java = ["java", OPENED, "-cp", class_path()]
    programs = {name: [*java, str(JVM / f"{name}.java"), remote(up, user), ROWS] for name in ("ConnectClient", "JdbcClient")}
    said, rerun = outlive_their_driver(up, {name: [command] for name, command in programs.items()})
    assert said == dict.fromkeys(programs, SAID)
    assert rerun == len(programs)
