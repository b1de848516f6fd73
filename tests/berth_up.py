"""A one-node Berth for tests and the demo: started on free ports, ended by its pid."""

import json
import os
import signal
import subprocess
import time
import urllib.request
from pathlib import Path


class Up:
    """`berth up` on a data directory."""

    def __init__(self, data: Path, *flags: str, scheme="http", env=None, prefix=()):
        self.data, self.scheme, self.env, self.prefix = data, scheme, {**os.environ, **(env or {})}, list(prefix)
        self.log = data / "up.log"
        data.mkdir(parents=True, exist_ok=True)
        self.endpoints_file = data / "endpoints.json"
        self.endpoints_file.unlink(missing_ok=True)
        ports = [part for name in ("connect", "livy", "kyuubi", "hs2", "hs2-http", "admin", "agent") for part in (f"--{name}", "127.0.0.1:0")]
        command = [*self.prefix, os.environ["BERTH_BIN"], "up", "--data-dir", str(data), *ports, *flags]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        wait_until(self._announced, 60, f"berth up does not start, see {self.log}")
        self.endpoints = json.loads(self.endpoints_file.read_text())
        self.url = f"sc://{self.endpoints['connect']}"

    def _announced(self):
        if self.process.poll() is not None:
            raise RuntimeError(f"berth up ended with {self.process.returncode}: {self.log.read_text()[-2000:]}")
        return self.endpoints_file.exists()

    def ask(self, *command: str):
        """The JSON that an admin command prints."""
        return json.loads(self.run(*command, "--output", "json"))

    def run(self, *command: str):
        """What an admin command prints."""
        line = [os.environ["BERTH_BIN"], *command, "--broker", f"{self.scheme}://{self.endpoints['connect']}"]
        return subprocess.run(line, check=True, capture_output=True, timeout=30, env=self.env).stdout

    def metric(self, series: str):
        """The value of a counter or gauge with its labels, written as Prometheus writes them; 0 before its first use."""
        with urllib.request.urlopen(f"http://{self.endpoints['admin']}/metrics", timeout=10) as page:
            lines = page.read().decode().splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(f"{series} "))

    def drivers(self, state: str):
        return [driver for driver in self.ask("drivers") if driver["state"] == state]

    def wait_warm(self):
        wait_until(lambda: self.drivers("warm"), 180, f"no driver gets warm, see {self.log}")

    def session(self, **wanted):
        """The one session with these columns."""
        (session,) = [row for row in self.ask("sessions") if wanted.items() <= row.items()]
        return session

    def driver_of(self, session):
        (driver,) = [row for row in self.ask("drivers") if row["id"] == session["driver"]]
        return driver

    def kill_driver(self, user=None, **wanted):
        """Kills the JVM of the one session of `user`, or with these columns, as a crash would."""
        if user is not None:
            wanted["owner"] = user
        os.kill(self.driver_of(self.session(**wanted))["jvm_pid"], signal.SIGKILL)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=60)


class Guarded(Up):
    """A Berth that asks for the tokens of a file, over TLS; the last one is an operator's, which its commands use."""

    def __init__(self, directory: Path, tokens: str, *flags: str):
        certs, self.tokens = directory / "certs", directory / "tokens"
        names = [part for name in ("127.0.0.1", "localhost") for part in ("--host", name)]
        subprocess.run([os.environ["BERTH_BIN"], "certs", str(certs), *names], check=True)
        self.tokens.write_text(tokens)
        self.ca = str(certs / "ca.pem")
        sets = {
            "listen.tls-cert": certs / "broker.pem", "listen.tls-key": certs / "broker.key", "auth.token-file": self.tokens,
        }
        guards = [part for key, value in sets.items() for part in ("--set", f"{key}={value}")]
        env = {"BERTH_TOKEN": tokens.splitlines()[-1].split()[0], "BERTH_CA": self.ca}
        super().__init__(directory / "data", *guards, *flags, scheme="https", env=env)


def second_catalog(directory):
    """Confs of a catalog beside Spark's own: the database Derby, which PySpark brings, in this directory."""
    catalog = "org.apache.spark.sql.execution.datasources.v2.jdbc.JDBCTableCatalog"
    confs = {"": catalog, ".url": f"jdbc:derby:{directory};create=true", ".driver": "org.apache.derby.jdbc.EmbeddedDriver"}
    return table({f"spark.sql.catalog.second{key}": value for key, value in confs.items()})


def table(confs):
    """Confs as a setting of a profile has them."""
    return "{%s}" % ", ".join(f'"{key}" = "{value}"' for key, value in confs.items())


def wait_until(holds, seconds: float, otherwise: str):
    """Polls for a state; the deadline only bounds a failing test."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = holds()
        if value:
            return value
        time.sleep(0.1)
    raise AssertionError(otherwise)


def activate(session):
    """PySpark parses types and reads checkpoints with the thread's active session, which stays the first one made."""
    type(session)._active_session.session = session
