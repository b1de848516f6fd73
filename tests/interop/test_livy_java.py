"""Livy's own Java client, whose jobs are Java objects. Cases: spec of Livy."""

import os
import re
import subprocess
import threading
import zipfile
from pathlib import Path

import pyspark
import pytest
from berth_cluster import BROKER_CONFIG
from berth_up import Up, wait_until
from haproxy import HaProxy
from livy_client import LivySession

LIVY = sorted((Path(os.environ["BERTH_CLIENTS"]) / "livy").glob("*.jar"))
SOURCE = Path(__file__).parent / "java" / "LivyJobs.java"
JARS = Path(pyspark.__file__).parent / "jars"
# Kryo, in the client, reads lambdas and closures by reflection.
OPENED = ["java.base/java.util", "java.base/java.lang", "java.base/java.lang.invoke"]


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    """A Berth that shows its sessions as Livy 0.7 did: that client refuses what it does not know."""
    berth = Up(tmp_path_factory.mktemp("berth"), "--warm", "0", "--set", 'broker.livy.session-fields="0.7"')
    yield berth
    berth.stop()


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    """The client's program as a jar, and how it is run."""
    made = tmp_path_factory.mktemp("client")
    class_path = ":".join([*map(str, LIVY), f"{JARS}/*"])
    subprocess.run(["javac", "-cp", class_path, "-d", str(made), str(SOURCE)], check=True)
    jar = made / "jobs.jar"
    with zipfile.ZipFile(jar, "w") as archive:
        for each in (made / "berth").glob("*.class"):
            archive.write(each, f"berth/{each.name}")
    opened = [part for each in OPENED for part in ("--add-opens", f"{each}=ALL-UNNAMED")]

    def run(*arguments, when=None, then=None):
        """What it says. As soon as it says `when`, `then` is called."""
        command = ["java", *opened, "-cp", f"{jar}:{class_path}", "berth.LivyJobs", *map(str, arguments)]
        with open(made / "errors", "w+") as errors, \
                subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as process:
            # A client that hangs ends the test all the same.
            late = threading.Timer(300, process.kill)
            late.start()
            said = []
            for line in process.stdout:
                said.append(line.rstrip("\n"))
                if said[-1] == when:
                    then()
            late.cancel()
            errors.seek(0)
            assert process.wait() == 0, errors.read()[-3000:]
        return said

    return jar, run


def test_the_java_client_creates_submits_uploads_connects_and_stops(old, client, tmp_path):
    """livy#83, #84, #85, #87, #89, #123"""
    jar, run = client
    url = f"http://{old.endpoints['livy']}"
    assert run("create", url, *LIVY, jar) == ["sum 10", "keep null", "failed true"]
    session = LivySession.__new__(LivySession)
    session.base, session.id = f"{url}/sessions", 0
    (listed,) = session.call("GET", "")["sessions"]
    assert (listed["id"], listed["kind"]) == (0, "shared")
    words = tmp_path / "words.txt"
    words.write_text("hello")
    assert run("connect", f"{url}/sessions/0", words) == ["kept 42", "file hello", "cancelled true", "sum 10"]
    wait_until(lambda: session.call("GET", "")["total"] == 0, 60, "the session is not deleted")


def test_i3_the_java_client_is_told_of_a_driver_that_is_killed(old, client):
    """livy#123: the jars that it uploaded are there on the next driver, and the job does not run again"""
    jar, run = client
    url = f"http://{old.endpoints['livy']}"
    run("create", url, *LIVY, jar)
    session = LivySession.__new__(LivySession)
    session.base = f"{url}/sessions"
    (listed,) = session.call("GET", "")["sessions"]
    kill = lambda: old.kill_driver(dialect="livy", client_id=str(listed["id"]))  # noqa: E731
    assert run("lose", f"{url}/sessions/{listed['id']}", when="running", then=kill) == ["running", "lost true", "sum 10"]


@pytest.fixture
def pair(cluster, tmp_path):
    """Two more brokers of the cluster, which show sessions as Livy 0.7 did, behind HAProxy."""
    config = BROKER_CONFIG + 'livy.session-fields = "0.7"\n'
    brokers = [cluster.process(f"old-{n}", "broker", config).start() for n in range(2)]
    for broker in brokers:
        broker.wait_for("is up")
    found = [re.search(r"Livy +http://(.+):(\d+)", broker.said()).groups() for broker in brokers]
    balancer = HaProxy(tmp_path, found).start()
    yield brokers, f"http://{balancer.address}"
    balancer.end()
    for broker in brokers:
        broker.end()


@pytest.mark.parametrize("broker", [0, 1])
def test_i2_the_java_client_does_not_notice_that_a_broker_is_killed(cluster, pair, client, tmp_path, broker):
    """livy#113, #117, #118, #123: killed while the client asks for a job; its connection was to one of the two"""
    (brokers, url), (jar, run) = pair, client
    cluster.wait_warm()
    run("create", url, *LIVY, jar)
    session = LivySession.__new__(LivySession)
    session.base = f"{url}/sessions"
    (listed,) = session.call("GET", "")["sessions"]
    gate = tmp_path / "gate"

    def kill():
        brokers[broker].kill()
        gate.touch()

    said = run("held", f"{url}/sessions/{listed['id']}", gate, when="running", then=kill)
    assert said == ["running", "held 42", "sum 10"]


def test_a_driver_without_livys_jars_says_what_is_missing(old):
    session = LivySession(old.endpoints["livy"])
    try:
        number = session.call("POST", f"/{session.id}/submit-job", {"job": "AAAA", "jobType": "spark"})["id"]
        look = f"/{session.id}/jobs/{number}"
        ended = wait_until(lambda: (seen := session.call("GET", look))["state"] == "FAILED" and seen, 180, "it runs on")
        assert "livy-client-http" in ended["error"]
    finally:
        session.close()
