"""Processes of a cluster for tests: etcd, brokers, agents. Each is ended by its own pid."""

import json
import os
import re
import signal
import socket
import subprocess
import threading
from pathlib import Path

from berth_up import wait_until


def free_ports(count):
    """Ports that nobody listens on now."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


class Process:
    """A process with a log that can be killed, stopped and started again."""

    def __init__(self, name, command, directory: Path, namespace=None, env=None):
        self.name, self.command, self.env = name, command, env
        self.prefix = ["ip", "netns", "exec", namespace] if namespace else []
        self.log = directory / f"{name}.log"
        self.process = None

    def start(self):
        with open(self.log, "ab") as log:
            self.began = log.tell()
            self.process = subprocess.Popen(
                self.prefix + self.command, stdout=log, stderr=log, env={**os.environ, **(self.env or {})},
                start_new_session=True)
        return self

    def said(self):
        """What it has logged since it was last started."""
        with open(self.log, "rb") as log:
            log.seek(self.began)
            return log.read().decode(errors="replace")

    def wait_for(self, pattern, seconds=60):
        def look():
            found = re.search(pattern, self.said())
            if not found and self.process.poll() is not None:
                raise AssertionError(f"{self.name} ended with {self.process.returncode}: {self.said()[-2000:]}")
            return found
        return wait_until(look, seconds, f"{self.name} does not say {pattern!r}, see {self.log}")

    def kill(self):
        self.signal(signal.SIGKILL)
        self.process.wait(timeout=30)

    def signal(self, number):
        self.process.send_signal(number)

    def end(self):
        if self.process and self.process.poll() is None:
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGINT)
            try:
                self.process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                self.kill()


# Enough for every test, and soon filled by the one that fills it.
QUOTA_BYTES = 96 << 20


class Etcd:
    """Members of one etcd cluster."""

    def __init__(self, directory: Path, host="127.0.0.1", members=3):
        ports = free_ports(2 * members)
        peers = [f"m{n}=http://{host}:{ports[2 * n]}" for n in range(members)]
        self.endpoints = [f"http://{host}:{ports[2 * n + 1]}" for n in range(members)]
        self.members, self.directories = [], [directory / f"etcd-{n}" for n in range(members)]
        for n in range(members):
            peer, client = f"http://{host}:{ports[2 * n]}", self.endpoints[n]
            command = [
                os.environ.get("BERTH_ETCD", "etcd"), "--name", f"m{n}", "--data-dir", str(self.directories[n]),
                "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
                "--listen-client-urls", client, "--advertise-client-urls", client,
                "--initial-cluster", ",".join(peers), "--initial-cluster-state", "new",
                "--quota-backend-bytes", str(QUOTA_BYTES), "--heartbeat-interval", "50", "--election-timeout", "500", "--logger", "zap",
            ]
            self.members.append(Process(f"etcd-{n}", command, directory))

    def start(self):
        for member in self.members:
            member.start()
        for member in self.members:
            self.wait_up(member)
        return self

    def wait_up(self, member):
        member.wait_for("ready to serve client requests|published local member")

    def end(self):
        for member in self.members:
            if member.process and member.process.poll() is None:
                member.kill()


class Metastore:
    """A Hive metastore over Derby that all nodes share, as a platform has one: from PySpark's own jars."""

    def __init__(self, directory: Path):
        home = directory / "metastore"
        home.mkdir()
        (self.port,) = free_ports(1)
        self.warehouse, self.listening = directory / "warehouse", home / "listening"
        settings = home / "settings.json"
        settings.write_text(json.dumps({
            "port": self.port,
            "port_file": str(self.listening),
            "confs": {"spark.driver.memory": "384m", "spark.driver.extraJavaOptions": f"-Dderby.system.home={home}"},
            "hive": {
                "javax.jdo.option.ConnectionURL": f"jdbc:derby:;databaseName={home}/db;create=true",
                "hive.metastore.warehouse.dir": str(self.warehouse),
                "hive.metastore.uris": "",
                "hive.metastore.schema.verification": "false",
                "datanucleus.schema.autoCreateAll": "true",
                "hive.async.log.enabled": "false",
            },
        }))
        host = Path(__file__).parent.parent / "agent/driver/berth_driver/__main__.py"
        command = [os.environ["BERTH_PYTHON"], "-u", str(host), str(settings), "metastore"]
        self.process = Process("metastore", command, directory)

    def start(self):
        self.process.start()
        wait_until(self.listening.exists, 120, f"the metastore does not start, see {self.process.log}")
        return self

    def end(self):
        os.killpg(self.process.process.pid, signal.SIGKILL)
        self.process.process.wait(timeout=30)


class Door:
    """One address in front of several brokers: each connection goes to the first that accepts it.

    While `passes` is not set no byte goes either way, and nobody is told, as on a wire that is cut.
    """

    def __init__(self, targets, address=("127.0.0.1", 0)):
        self.targets = targets
        self.passes = threading.Event()
        self.passes.set()
        self.listener = socket.create_server(address)
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.splice, args=(client,), daemon=True).start()

    def splice(self, client):
        for host, port in list(self.targets()):
            try:
                server = socket.create_connection((host, port), timeout=5)
                server.settimeout(None)
                break
            except OSError:
                continue
        else:
            client.close()
            return
        threading.Thread(target=pump, args=(client, server, self.passes), daemon=True).start()
        pump(server, client, self.passes)

    def close(self):
        self.listener.close()


def pump(source, sink, passes):
    try:
        while data := source.recv(1 << 16):
            passes.wait()
            sink.sendall(data)
    except OSError:
        pass
    for each in (source, sink):
        try:
            each.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
