"""Spark's own cluster manager: a master and a worker from PySpark's jars, on loopback."""

import os
import subprocess
from pathlib import Path

from processes import Process, free_ports


class Standalone:
    CORES = 4

    def __init__(self, directory: Path):
        found = [os.environ["BERTH_PYTHON"], "-c", "import pyspark; print(pyspark.__path__[0])"]
        spark = Path(subprocess.run(found, check=True, capture_output=True, text=True).stdout.strip())
        (port,) = free_ports(1)
        self.master = f"spark://127.0.0.1:{port}"
        env = {"SPARK_HOME": str(spark), "SPARK_DAEMON_MEMORY": "256m", "SPARK_LOCAL_IP": "127.0.0.1",
               "PYSPARK_PYTHON": os.environ["BERTH_PYTHON"]}

        def daemon(name, *words):
            main = f"org.apache.spark.deploy.{name.lower()}.{name}"
            command = [str(spark / "bin/spark-class"), main, "--host", "127.0.0.1", "--webui-port", "0", *words]
            return Process(name.lower(), command, directory, env=env)

        room = ("--cores", str(self.CORES), "--memory", "3g", "--work-dir", str(directory / "work"))
        self.daemons = [daemon("Master", "--port", str(port)), daemon("Worker", *room, self.master)]

    def start(self):
        for daemon, said in zip(self.daemons, ("New state: ALIVE", "registered with master")):
            daemon.start().wait_for(said, 120)
        return self

    def end(self):
        for daemon in reversed(self.daemons):
            daemon.end()
