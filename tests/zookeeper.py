"""A ZooKeeper from PySpark's own jars, and JDBC clients that find their broker there."""

import subprocess
from pathlib import Path

from applications import spark_jars
from berth_cluster import BROKER_CONFIG
from berth_up import wait_until
from processes import Process, free_ports

# Sessions of this profile share a driver.
TOGETHER = "?berth.profile=together"
CONNECTS = Path(__file__).parent / "e2e" / "jvm" / "Connects.java"


class ZooKeeper:
    def __init__(self, directory):
        (port,) = free_ports(1)
        self.address = f"127.0.0.1:{port}"
        command = ["java", "-Dzookeeper.admin.enableServer=false", "-cp", spark_jars(),
                   "org.apache.zookeeper.server.ZooKeeperServerMain", str(port), str(directory / "zookeeper")]
        self.process = Process("zookeeper", command, directory)

    def start(self):
        self.process.start()
        wait_until(lambda: self.run("ls", "/") is not None, 60, "ZooKeeper does not answer")
        return self

    def run(self, *words):
        """What its own client prints last; None if that fails."""
        command = ["java", "-cp", spark_jars(), "org.apache.zookeeper.ZooKeeperMain", "-server", self.address, *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        return done.stdout.splitlines()[-1] if done.returncode == 0 else None

    def listed(self, namespace):
        """The names below a namespace."""
        names = self.run("ls", f"/{namespace}") or "[]"
        return [name for name in names.strip("[]").split(", ") if name]

    def wait_listed(self, namespace, count):
        wait_until(lambda: len(self.listed(namespace)) == count, 60, f"there are not {count} brokers in ZooKeeper")

    def url(self, namespace, rest=""):
        return f"jdbc:hive2://{self.address}/default;serviceDiscoveryMode=zooKeeper;zooKeeperNamespace={namespace}{rest}"

    def end(self):
        self.process.kill()


def config_of(zookeeper, namespace, more=""):
    """The configuration of a broker that is listed there."""
    listed = f'hs2.zookeeper.servers = ["{zookeeper.address}"]\nhs2.zookeeper.namespace = "{namespace}"\n{more}'
    return BROKER_CONFIG.replace("[broker]", f"[broker]\n{listed}")


def connect(class_path, url, times=1):
    """Connects so many times with the JDBC driver of this class path, and runs a query in each session."""
    command = ["java", "-cp", class_path, str(CONNECTS), url, str(times)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    # Its log may be there, too.
    assert done.stdout.splitlines().count("42") == times, (done.stdout, done.stderr)
