"""A cluster for tests: three members of etcd, brokers and agents, each agent in a network namespace of its own."""

import json
import os
import signal
import subprocess
from pathlib import Path

from berth_up import wait_until
from processes import Door, Etcd, Metastore, Process

BROKER_CONFIG = """
data-dir = "{directory}/{name}"
[listen]
connect = "127.0.0.1:0"
livy = "127.0.0.1:0"
kyuubi = "127.0.0.1:0"
hs2 = "127.0.0.1:0"
hs2-http = "127.0.0.1:0"
admin = "127.0.0.1:0"
[store]
endpoints = {endpoints}
[blobs]
directory = "{directory}/blobs"
[tls]
cert = "{certs}/broker.pem"
key = "{certs}/broker.key"
ca = "{certs}/ca.pem"
[broker]
lease-seconds = 3
livy.local-dirs = ["{directory}/jobs"]
"""

AGENT_CONFIG = """
data-dir = "{directory}/{name}"
[listen]
agent = "{host}:7450"
admin = "127.0.0.1:8900"
[store]
endpoints = {endpoints}
[tls]
cert = "{certs}/agent.pem"
key = "{certs}/agent.key"
ca = "{certs}/ca.pem"
[agent]
node-id = "{name}"
python = "{python}"
lease-seconds = 3
memory-capacity-bytes = 6442450944
catalog = "none"
[agent.profiles.default]
warm = 1
master = "local[1]"
heap = "768m"
memory-bytes = 1258291200
[agent.profiles.default.confs]
"spark.ui.enabled" = "false"
"spark.sql.catalogImplementation" = "hive"
"spark.hadoop.hive.metastore.uris" = "thrift://{gateway}:{metastore}"
"spark.sql.warehouse.dir" = "{warehouse}"
[agent.profiles.together]
share = "tenant"
warm = 0
master = "local[1]"
heap = "768m"
memory-bytes = 1258291200
class-data-sharing = false
"""


def ip(*words):
    subprocess.run(["ip", *words], check=True, capture_output=True)


def gateway_of(host):
    """The host's end of a node's wire."""
    return host.rsplit(".", 1)[0] + ".1"


class Node:
    """An agent in a namespace that is linked to the host by one wire."""

    def __init__(self, cluster, number):
        self.name = f"node-{number}"
        self.space = f"berth{os.getpid()}n{number}"
        self.wire = f"bt{os.getpid() % 100000}n{number}"
        subnet = f"10.{200 + os.getpid() % 50}.{number}"
        self.host = f"{subnet}.2"
        gateway = gateway_of(self.host)
        ip("netns", "add", self.space)
        ip("link", "add", self.wire, "type", "veth", "peer", "name", "eth0", "netns", self.space)
        ip("addr", "add", f"{gateway}/24", "dev", self.wire)
        ip("link", "set", self.wire, "up")
        for words in (["addr", "add", f"{self.host}/24", "dev", "eth0"], ["link", "set", "eth0", "up"],
                      ["link", "set", "lo", "up"], ["route", "add", "default", "via", gateway]):
            ip("-n", self.space, *words)
        self.agent = cluster.process(self.name, "agent", AGENT_CONFIG, namespace=self.space, host=self.host)

    def cut(self):
        """No packet leaves it or reaches it any more."""
        ip("link", "set", self.wire, "down")

    def mend(self):
        ip("link", "set", self.wire, "up")

    def cut_from_etcd(self):
        """All but etcd is still there, brokers and the metastore too."""
        for door in self.etcd:
            door.passes.clear()

    def mend_etcd(self):
        for door in self.etcd:
            door.passes.set()

    def pids(self):
        """Everything that runs in the namespace: the agent and its drivers."""
        found = subprocess.run(["ip", "netns", "pids", self.space], capture_output=True, text=True, check=True)
        return [int(pid) for pid in found.stdout.split()]

    def signal_all(self, number):
        for pid in self.pids():
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass

    def remove(self):
        self.signal_all(signal.SIGCONT)
        self.agent.end()
        self.signal_all(signal.SIGKILL)
        ip("netns", "del", self.space)


class Cluster:
    def __init__(self, directory: Path, brokers=2, nodes=2):
        self.directory, self.certs = directory, directory / "certs"
        subprocess.run([os.environ["BERTH_BIN"], "certs", str(self.certs), "--host", "127.0.0.1"], check=True)
        self.etcd = Etcd(directory, "127.0.0.1").start()
        self.metastore = Metastore(directory).start()
        self.brokers = [self.process(f"broker-{n}", "broker", BROKER_CONFIG).start() for n in range(brokers)]
        self.nodes = [Node(self, n) for n in range(nodes)]
        self.relays = [relay for node in self.nodes for relay in self.relay(node)]
        for node in self.nodes:
            node.agent.start()
        for process in [*self.brokers, *(node.agent for node in self.nodes)]:
            process.wait_for("is up")
        self.door = Door(lambda: self.addresses("Spark Connect"))
        self.livy = Door(lambda: self.addresses("Livy"))
        self.url = f"sc://{self.door.address}"

    def relay(self, node):
        """etcd and the metastore listen on the host's loopback; each node gets them at its gateway, on the same ports."""
        def door(port):
            return Door(lambda: [("127.0.0.1", port)], (gateway_of(node.host), port))
        node.etcd = [door(int(endpoint.rsplit(":", 1)[1])) for endpoint in self.etcd.endpoints]
        return [*node.etcd, door(self.metastore.port)]

    def process(self, name, role, template, namespace=None, host="127.0.0.1"):
        gateway = "127.0.0.1" if namespace is None else gateway_of(host)
        endpoints = [endpoint.replace("127.0.0.1", gateway) for endpoint in self.etcd.endpoints]
        config = template.format(
            directory=self.directory, name=name, certs=self.certs, host=host, python=os.environ["BERTH_PYTHON"],
            endpoints=json.dumps(endpoints), gateway=gateway, metastore=self.metastore.port,
            warehouse=self.metastore.warehouse)
        path = self.directory / f"{name}.toml"
        path.write_text(config)
        command = [os.environ["BERTH_BIN"], role, "--config", str(path)]
        # Statements on a cold driver take longer than the lease of these nodes.
        warm = {"BERTH__AGENT__PROFILES__DEFAULT__WARM_UP_SESSIONS": "3"}
        return Process(name, command, self.directory, namespace, warm)

    def addresses(self, what):
        """The brokers' addresses that are known to have been bound, dead ones too."""
        for broker in self.brokers:
            for line in broker.said().splitlines():
                if line.strip().startswith(what):
                    host, port = line.split("//")[1].strip().rsplit(":", 1)
                    yield host, int(port)

    def ask(self, *command):
        """The JSON that an admin command prints."""
        line = [os.environ["BERTH_BIN"], *command, "--broker", f"http://{self.door.address}", "--output", "json"]
        return json.loads(subprocess.run(line, check=True, capture_output=True, timeout=30).stdout)

    def session(self, owner=None, **wanted):
        """The one session of `owner`, or with these columns."""
        if owner is not None:
            wanted["owner"] = owner
        (session,) = [row for row in self.ask("sessions") if wanted.items() <= row.items()]
        return session

    def node(self, name):
        (node,) = [node for node in self.nodes if node.name == name]
        return node

    def wait_warm(self, nodes=None):
        """Waits until each node has a driver that a session can have at once."""
        names = {node.name for node in nodes or self.nodes}
        def ready():
            rows = self.ask("nodes")
            return names <= {row["id"] for row in rows if row["state"] == "up" and row["warm"]}
        wait_until(ready, 240, f"no warm driver on {names}, see {self.directory}")

    def stop(self):
        self.door.close()
        self.livy.close()
        for broker in self.brokers:
            broker.end()
        for node in self.nodes:
            node.remove()
        self.etcd.end()
        self.metastore.end()
        for relay in self.relays:
            relay.close()

