"""Measures what Berth adds and how quickly it recovers: every figure in a table, all sides in one run.

`make bench` builds an optimised Berth and runs this. Nothing else should run on the machine meanwhile.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent / "tests"), str(HERE / "bench")]

from berth_up import Up, wait_until  # noqa: E402
from common import PYTHON, load, settled, stub_berth  # noqa: E402
from livy_figures import livy  # noqa: E402
from processes import free_ports  # noqa: E402
from sql_figures import sql  # noqa: E402

PROXY = """
defaults
  mode http
  timeout connect 5s
  timeout client 1h
  timeout server 1h
frontend connect
  bind 127.0.0.1:{front} proto h2
  acl is_route hdr(x-berth-bench) -m found
  use_backend driver if is_route
  default_backend driver
backend driver
  server one 127.0.0.1:{back} proto h2
"""


def direct(up):
    """Address and token of a warm driver."""
    warm = up.drivers("warm")[0]["id"]
    driver = json.loads((up.data / "agent/drivers" / warm / "driver.json").read_text())
    return f"127.0.0.1:{driver['ready']['port']}", driver["connect_token"]


def sides(up, port=None):
    address, token = direct(up)
    via = up.endpoints["connect"] if port is None else f"127.0.0.1:{port}"
    return ["--via", via, "--direct", address, "--direct-token", token]


def stub_latency(directory):
    """Berth's own part of a call: the driver behind it answers at once."""
    up = stub_berth(directory, "stub")
    try:
        up.wait_warm()
        load("A call through Berth to a stub driver", "latency", *sides(up), "--rate", "500")
        haproxy(directory, up)
        load("The same at 2,000 calls a second", "latency", *sides(up), "--rate", "2000")
    finally:
        up.stop()


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def haproxy(directory, up):
    """The same call through a proxy that does nothing else."""
    if not shutil.which("haproxy"):
        print("\nhaproxy is not installed: no comparison with it")
        return
    address, token = direct(up)
    (front,) = free_ports(1)
    config = directory / "haproxy.cfg"
    config.write_text(PROXY.format(front=front, back=address.rsplit(":", 1)[1]))
    proxy = subprocess.Popen(["haproxy", "-f", str(config), "-q"])
    try:
        wait_until(lambda: listens(front), 10, "haproxy does not listen")
        load("The same call through HAProxy ('via Berth' is HAProxy here)", "latency", *sides(up, front),
             "--via-token", token, "--rate", "500")
    finally:
        proxy.kill()
        proxy.wait()


def real_spark(directory):
    """connect#90: `select 1` and bytes a second beside the same driver asked directly."""
    up = Up(directory / "real", "--warm", "2", "--log", "warn")
    try:
        settled(up, 2)
        connect = up.endpoints["connect"]
        load("First statement of a session on a warm driver", "start", "--via", connect, "--pause", "20")
        settled(up, 2)
        print("\n## select 1 in PySpark", flush=True)
        address, token = direct(up)
        port = address.rsplit(":", 1)[1]
        subprocess.run([PYTHON, HERE / "bench/select_one.py", f"{up.url}/;user_id=bench",
                        f"sc://localhost:{port}/;token={token};use_ssl=false"], check=True)
        settled(up, 2)
        load("Bytes per second of a large result", "throughput", *sides(up), "--rounds", "9", "--warm-up", "6", "--pause", "25")
        settled(up, 2)
        load("Driver killed, to the next answer", "recovery", "--via", connect, "--kills", "7", "--pause", "25")
    finally:
        up.stop()


def cpu_seconds(pid):
    """What a process and its ended children have used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def cold_start(up):
    """Seconds to the first answer of a session whose driver must be started, and the processor's on that driver."""
    from pyspark.sql import SparkSession

    begun = time.monotonic()
    spark = SparkSession.builder.remote(f"{up.url}/;user_id=cold").create()
    assert spark.sql("select 1").collect() == [(1,)]
    taken = time.monotonic() - begun
    (driver,) = up.drivers("serving")
    used = sum(map(cpu_seconds, (driver["pid"], driver["jvm_pid"])))
    spark.stop()
    wait_until(lambda: not up.ask("drivers"), 60, "the driver does not end")
    return taken, used


def cold(directory):
    """A driver started for a client that waits, with the archive of classes and without."""
    print("\n## First statement of a session whose driver must be started\n\n| what | s | CPU s of the driver |\n|---|---|---|")
    for label, archive in (("without the archive", "false"), ("with it", "true")):
        up = Up(directory / label, "--warm", "0", "--log", "warn",
                "--set", f"agent.profiles.default.class-data-sharing={archive}")
        try:
            if archive == "true":
                cold_start(up)  # The archive is made after the first driver was ready.
                settled(up, 0)
            wait_until(lambda: os.getloadavg()[0] < 1.5, 300, "the machine does not come to rest")
            for _ in range(3):
                taken, used = cold_start(up)
                print(f"| {label} | {taken:.1f} | {used:.1f} |", flush=True)
        finally:
            up.stop()


def node_lost(directory):
    """A node's only wire is cut: from then to the session's next answer, on the other node. Needs root."""
    from berth_cluster import Cluster
    from pyspark.sql import SparkSession

    cluster = Cluster(directory)
    print("\n## Node cut off, to the next answer; its lease is 3 s\n\n| s |\n|---|")
    try:
        for _ in range(3):
            cluster.wait_warm()
            spark = SparkSession.builder.remote(f"{cluster.url}/;user_id=bench").create()
            spark.conf.set("berth.test", "kept")
            node = cluster.node(cluster.session("bench")["node"])
            node.cut()
            begun = time.monotonic()
            assert spark.conf.get("berth.test") == "kept"
            print(f"| {time.monotonic() - begun:.1f} |", flush=True)
            node.mend()
            spark.stop()
    finally:
        cluster.stop()


PARTS = {"stub": stub_latency, "real": real_spark, "cold": cold, "node": node_lost, "livy": livy, "sql": sql}


def main():
    """Runs the parts that are named, all of them if none is."""
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="berth-bench-") as directory:
        for name in sys.argv[1:] or PARTS:
            PARTS[name](Path(directory))
    print(f"\nmeasured in {time.monotonic() - begun:.0f} s")


main()
