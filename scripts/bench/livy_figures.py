"""Livy's figures: reads, memory of a broker, the start of a session, the recovery of a notebook."""

import json
import os
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import processes
from berth_cluster import BROKER_CONFIG
from berth_up import Up, wait_until
from common import LOADTEST, load, settled, stub_berth
from livy_client import LivySession


def livy(directory):
    """Livy's reads with a stub driver behind them; then sessions and a notebook on real ones."""
    stub = stub_berth(directory, "livy-stub")
    try:
        stub.wait_warm()
        session = LivySession(stub.endpoints["livy"]).wait_idle()
        session.run("1 + 1")
        for rate in ("500", "1000"):
            load(f"Livy's reads at {rate} a second", "livy", "--via", stub.endpoints["livy"],
                 "--session", str(session.id), "--rate", rate)
    finally:
        stub.stop()
    livy_memory(directory / "livy-broker")
    up = Up(directory / "livy", "--warm", "1", "--log", "warn")
    try:
        livy_starts(up)
        livy_notebook(up)
    finally:
        up.stop()


def livy_memory(directory):
    """What a broker keeps of sessions whose drivers, on a node that has none, cost nothing."""
    directory.mkdir()
    processes.QUOTA_BYTES = 1 << 30
    certs = directory / "certs"
    subprocess.run([os.environ["BERTH_BIN"], "certs", str(certs), "--host", "127.0.0.1"], check=True)
    etcd = processes.Etcd(directory, members=1).start()
    config = directory / "broker.toml"
    config.write_text(BROKER_CONFIG.format(directory=directory, name="broker", certs=certs,
                                           endpoints=json.dumps(etcd.endpoints)))
    env = {"BERTH__BROKER__DEFAULT_LIMITS__SESSIONS": "100000", "BERTH__BROKER__LIVY__MAX_STARTING": "10000",
           "BERTH__TELEMETRY__LOG_LEVEL": "warn"}
    broker = processes.Process("broker", [os.environ["BERTH_BIN"], "broker", "--config", str(config)], directory, env=env)
    node = processes.Process("node", [LOADTEST, "stub-node", "--etcd", etcd.endpoints[0], "--certs", str(certs)], directory)
    try:
        broker.start().wait_for("is up")
        node.start().wait_for("listening")
        measure_memory(broker)
    finally:
        for process in (node, broker, etcd):
            process.end()


def measure_memory(broker):
    connect, address = (broker.wait_for(rf"{what}.*//(\S+)").group(1) for what in ("Connect", "Livy"))
    print("\n## Memory of a broker with idle Livy sessions\n\n| sessions | MiB | KiB each |\n|---|---|---|")
    made, first = 0, None
    for wanted in (100, 1000, 10_000):
        with ThreadPoolExecutor(8) as pool:
            last = list(pool.map(lambda _: LivySession(address), range(wanted - made)))[-1]
        wait_until(lambda: placed(connect) == wanted, 600, "not every session is placed")
        assert last.run("1 + 1") == "2"
        made, kib = wanted, resident_kib(broker.process.pid)
        first = first or (wanted, kib)
        each = f"{(kib - first[1]) / (wanted - first[0]):.1f}" if wanted > first[0] else ""
        print(f"| {wanted} | {kib / 1024:.1f} | {each} |", flush=True)


def placed(connect):
    """How many sessions the broker's nodes have."""
    command = [os.environ["BERTH_BIN"], "nodes", "--broker", f"http://{connect}", "--output", "json"]
    return sum(node["sessions"] for node in json.loads(subprocess.run(command, check=True, capture_output=True).stdout))


def resident_kib(pid):
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


def livy_starts(up):
    print("\n## From POST /sessions to the first output, on a warm driver\n\n| s |\n|---|")
    for _ in range(5):
        settled(up, 1)
        begun = time.monotonic()
        session = LivySession(up.endpoints["livy"])
        first_output(session, "1 + 1", "2")
        print(f"| {time.monotonic() - begun:.2f} |", flush=True)
        session.close()


def first_output(session, code, expected):
    """Polls as quickly as answers come: what is measured is Berth, not the client's pauses."""
    while session.state() not in ("idle", "busy"):
        time.sleep(0.005)
    statement = session.submit(code)
    while not (ended := session.ended(statement)):
        time.sleep(0.005)
    assert ended["output"]["data"]["text/plain"] == expected, ended


def livy_notebook(up):
    print("\n## Driver of a notebook of 50 statements killed, to the next answer\n\n| s |\n|---|")
    session = LivySession(up.endpoints["livy"]).wait_idle()
    for n in range(25):
        session.run(f"x{n} = {n}")
        session.run(f"spark.range({n}).createOrReplaceTempView('v{n}')")
    for _ in range(3):
        settled(up, 1)
        up.kill_driver(dialect="livy")
        begun = time.monotonic()
        first_output(session, "x24 + spark.table('v24').count()", "48")
        print(f"| {time.monotonic() - begun:.2f} |", flush=True)
