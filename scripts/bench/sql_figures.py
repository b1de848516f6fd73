"""SQL over JDBC beside Spark's own Thrift server, with the same jars, heap and cores, and the same client."""

import os
import statistics
import subprocess
import time
from pathlib import Path

import pyspark
from berth_up import Up, wait_until
from common import settled
from livy_figures import resident_kib
from processes import free_ports

HERE = Path(__file__).parent
SPARK = Path(pyspark.__file__).parent
HEAP = "4g"
ROWS = int(os.environ.get("BERTH_BENCH_ROWS", 10_000_000))
MIXED = " ".join("""select id, cast(id % 1000 as int) as i, id * 0.5D as d, cast(id as decimal(18, 4)) / 4 as c, id % 2 = 0 as b,
 concat('name-', id % 10000) as s, date_add(date'2020-01-01', cast(id % 3650 as int)) as day,
 timestamp_seconds(id) as t, cast(id % 97 as string) as k, repeat('x', cast(id % 20 as int)) as pad
 from range(0, {rows}, 1, 16)""".split())
MANY_ROWS = 5 * ROWS
LONG = f"select id, concat('name-', id % 10000) as s from range(0, {MANY_ROWS}, 1, 16)"
CONNECTIONS = 2000


def sql(directory):
    """Rows a second, latency and connects through JDBC, then what many connections take."""
    classes = directory / "classes"
    classes.mkdir()
    subprocess.run(["java", "-cp", f"{SPARK}/jars/*", "scala.tools.nsc.Main", "-usejavacp", "-d", str(classes),
                    str(HERE / "Jdbc.scala")], check=True)
    client = Client(classes)
    confs = {"spark.driver.maxResultSize": "0", "spark.ui.enabled": "false"}
    theirs = thrift_server(directory, client, confs)
    table = ", ".join(f'"{key}" = "{value}"' for key, value in confs.items())
    up = Up(directory / "sql", "--warm", "1", "--log", "warn", "--set", f"agent.profiles.default.heap={HEAP}",
            "--set", f"agent.profiles.default.memory-bytes={5 << 30}", "--set", f"agent.profiles.default.confs={{{table}}}")
    try:
        settled(up, 1)
        ours = figures(client, up.endpoints["hs2"], lambda: settled(up, 1))
        show(ours, theirs)
        peaks = {ROWS: peak_kib(up.process.pid)}
        client.rows(up.endpoints["hs2"], {LONG: MANY_ROWS})
        peaks[MANY_ROWS] = peak_kib(up.process.pid)
    finally:
        up.stop()
    print("\n| result, through JDBC | most memory of broker and agent until then, MiB |\n|---|---|")
    for rows, kib in peaks.items():
        print(f"| {rows:,} rows | {kib / 1024:.0f} |", flush=True)
    many_connections(directory, client)


def show(ours, theirs):
    print("\n## JDBC, beside Spark's Thrift server\n\n| what | Berth | Thrift server | ratio |\n|---|---|---|---|")
    for label, mine, other in zip(LABELS, ours, theirs):
        print(f"| {label} | {mine:,.1f} | {other:,.1f} | {mine / other:.2f} |", flush=True)


class Client:
    """The measuring client, a process each time. `BERTH_BENCH_JDBC` names a jar with a driver other than Spark's own.

    That one, Hive's 2.3, asks for the status of its statement before each row: a server can do no better with it than
    answer as quickly. The drivers of Hive 3 and later ask once.
    """

    def __init__(self, classes):
        (scala,) = (SPARK / "jars").glob("scala-library-*.jar")
        driver = os.environ.get("BERTH_BENCH_JDBC")
        jars = f"{driver}:{scala}" if driver else f"{SPARK}/jars/*"
        self.command = ["java", "-Xmx1g", "-cp", f"{classes}:{jars}", "Jdbc"]

    def start(self, *words):
        command = [*self.command, *map(str, words)]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    def figures(self, *words):
        process = self.start(*words)
        out, _ = process.communicate()
        assert process.returncode == 0, words
        return [float(line) for line in out.split()]

    def rows(self, address, statements, ready=lambda: None):
        """Seconds to the first and to the last row of each statement, which has so many, on one connection."""
        process, figures = self.start("rows", incremental(address), 10_000), []
        process.stdout.readline()
        for statement, rows in statements.items():
            ready()
            print(statement, file=process.stdin, flush=True)
            first, last, count = (float(process.stdout.readline()) for _ in range(3))
            assert count == rows, statement
            figures.append((first, last))
        process.communicate()
        return figures

    def latency(self, address, turns, sql, ready):
        """Milliseconds of each of so many executions on one connection."""
        process = self.start("latency", incremental(address), turns, sql)
        process.stdout.readline()
        ready()
        out, _ = process.communicate("begin\n")
        assert process.returncode == 0, out
        return sorted(map(float, out.split()))


def incremental(address):
    """How both servers are asked for rows as they come."""
    return f"jdbc:hive2://{address}/default?kyuubi.operation.incremental.collect=true"


LABELS = ["s to the first row of a connection's first statement", f"rows a second, {ROWS:,} of 10 mixed columns",
          "s to their first row", "`SELECT 1`, ms, p50", "`SELECT 1`, ms, p99", "connect to first row, ms, p50"]


def figures(client, address, ready=lambda: None):
    """One side's figures. `ready` waits until a session finds a warm driver and the machine is at rest.

    The first statement of a connection warms its driver, and the server, up for the second one.
    """
    (cold, _), (first, last) = client.rows(address, {MIXED.format(rows=rows): rows for rows in (ROWS // 10, ROWS)}, ready)
    latency = client.latency(address, 300, "select 1", ready)
    connects = []
    process = client.start("connect", incremental(address), 6, "select 1")
    for _ in range(6):
        ready()
        print(end="\n", file=process.stdin, flush=True)
        connects.append(float(process.stdout.readline()))
    process.communicate()
    # The first one loads the client's classes.
    return [cold, ROWS / last, first, statistics.median(latency), latency[int(len(latency) * 0.99)], statistics.median(connects[1:])]


def thrift_server(directory, client, confs):
    """The figures of Spark's own server."""
    (port,) = free_ports(1)
    settings = {**confs, "spark.sql.thriftServer.incrementalCollect": "true", "spark.sql.warehouse.dir": str(directory / "warehouse")}
    command = [str(SPARK / "bin/spark-submit"), "--class", "org.apache.spark.sql.hive.thriftserver.HiveThriftServer2",
               "--master", "local[2]", "--driver-memory", HEAP, *(f"--conf={key}={value}" for key, value in settings.items()),
               "spark-internal", "--hiveconf", f"hive.server2.thrift.port={port}",
               "--hiveconf", "hive.server2.thrift.bind.host=127.0.0.1"]
    with open(directory / "thriftserver.log", "wb") as log:
        server = subprocess.Popen(command, cwd=directory, stdout=log, stderr=log, start_new_session=True)
    try:
        wait_until(lambda: answers(client, port), 120, "Spark's Thrift server does not start")
        return figures(client, f"127.0.0.1:{port}")
    finally:
        os.killpg(server.pid, 15)
        server.wait(timeout=60)


def answers(client, port):
    process = client.start("connect", f"jdbc:hive2://127.0.0.1:{port}/default", 1, "select 1")
    process.communicate("\n")
    return process.returncode == 0


def peak_kib(pid):
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def many_connections(directory, client):
    """What open connections take of broker and agent; they share a driver."""
    up = Up(directory / "many", "--warm", "0", "--log", "warn", "--set", "agent.profiles.default.share=tenant",
            "--set", f"agent.profiles.default.sessions-per-driver={2 * CONNECTIONS}",
            "--set", "broker.default-limits.sessions=10000")
    print(f"\n## Memory of broker and agent with JDBC connections\n\n| connections | MiB | KiB each |\n|---|---|---|")
    try:
        url, held, base = f"jdbc:hive2://{up.endpoints['hs2']}/default", [], None
        for wanted in (100, CONNECTIONS):
            count = wanted - sum(int(number) for number, _ in held)
            process = client.start("hold", url, count, "select 1")
            held.append((process.stdout.readline(), process))
            assert int(held[-1][0]) == count
            kib = resident_kib(up.process.pid)
            each = f"{(kib - base[1]) / (wanted - base[0]):.1f}" if base else ""
            base = base or (wanted, kib)
            print(f"| {wanted} | {kib / 1024:.1f} | {each} |", flush=True)
        for _, process in held:
            process.communicate("\n")
    finally:
        up.stop()
