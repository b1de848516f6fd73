"""Livy's clients at one address, HAProxy's, with a broker or a node that dies behind it."""

import json
import subprocess
import time
import urllib.error
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from berth_up import wait_until
from haproxy import HaProxy
from livy import LivySession as PyLivy
from livy import SessionKind
from livy_client import LivySession
from sparkmagic import Run

# What a client that fails over waits for one answer, in seconds.
PROMISED = 5


@pytest.fixture
def balancer(cluster, tmp_path):
    """HAProxy before the brokers that run now; those that a test has killed run again afterwards."""
    cluster.wait_warm()
    made = HaProxy(tmp_path, cluster.addresses("Livy")).start()
    yield made
    made.end()
    for broker in cluster.brokers:
        if broker.process.poll() is not None:
            broker.start().wait_for("is up")


class Timed(LivySession):
    """A Livy client that keeps the time that its slowest answer took, and takes 503 for one."""

    words = LivySession.words | {"unavailable"}
    slowest = 0.0

    def call(self, method, path, body=None):
        begun = time.monotonic()
        try:
            return super().call(method, path, body)
        except urllib.error.HTTPError as error:
            assert error.code == 503, error.read()
            return {"state": "unavailable"}
        finally:
            self.slowest = max(self.slowest, time.monotonic() - begun)


class Curl(Timed):
    """The same with curl, which makes a connection for each call."""

    def call(self, method, path, body=None):
        begun = time.monotonic()
        command = ["curl", "--silent", "--max-time", "60", "--write-out", "\n%{http_code}", "-X", method]
        command += [] if body is None else ["-H", "Content-Type: application/json", "--data", json.dumps(body)]
        done = subprocess.run([*command, self.base + path], check=True, capture_output=True, text=True).stdout
        self.slowest = max(self.slowest, time.monotonic() - begun)
        text, status = done.rsplit("\n", 1)
        assert status in ("200", "201", "503"), done
        return json.loads(text) if status != "503" else {"state": "unavailable"}


@pytest.mark.parametrize("broker", [0, 1])
def test_i2_a_session_that_was_starting_when_a_broker_died_is_usable(cluster, balancer, broker):
    """livy#112: it wants a driver of its own, which takes seconds to start"""
    livy = Timed(balancer.address, driverMemory="700m")
    assert livy.state() == "starting"
    cluster.brokers[broker].kill()
    livy.wait_idle()
    assert livy.run("20 + 22") == "42"
    assert livy.slowest < PROMISED
    livy.close()


@pytest.mark.parametrize("client, broker", [(Timed, 0), (Timed, 1), (Curl, 1)])
def test_i2_a_broker_is_killed_between_post_and_get(cluster, balancer, client, broker):
    """livy#113, #115, #118: whichever broker took the statement, its id is good at the other"""
    livy = client(balancer.address).wait_idle()
    livy.run("x = 20")
    statement = livy.submit("import time; time.sleep(3); x + 22")
    cluster.brokers[broker].kill()
    assert livy.output(statement)["data"]["text/plain"] == "42"
    assert livy.run("x + 1") == "21"
    assert livy.state() == "idle"
    livy.close()
    assert livy.slowest < PROMISED


@pytest.mark.parametrize("broker", [0, 1])
def test_i2_what_a_killed_broker_took_runs_though_nobody_asks_for_it(cluster, balancer, tmp_path, broker):
    """livy#68, #113: more than a driver takes at once, so that most of it waits in the store; the leader dies or stays"""
    said = cluster.brokers[broker].said().splitlines()
    own = [line.split("//")[1].strip() for line in said if line.strip().startswith("Livy")]
    livy = LivySession(own[-1]).wait_idle()
    lines, gate = tmp_path / "lines", tmp_path / "gate"
    livy.submit(f"import os, time\nlines = open({str(lines)!r}, 'a')\n"
                f"while not os.path.exists({str(gate)!r}):\n    time.sleep(0.05)")
    wait_until(lines.exists, 60, "the statement does not run")
    for number in range(40):
        livy.submit(f"print({number}, file=lines, flush=True)")
    cluster.brokers[broker].kill()
    gate.touch()
    wait_until(lambda: lines.read_text().split()[-1:] == ["39"], 120, f"it stops at {lines.read_text().split()[-1:]}")
    assert lines.read_text().split() == [str(number) for number in range(40)]
    at(balancer, livy).close()


def at(balancer, livy):
    """The same session at the balancer's address."""
    livy.base = f"http://{balancer.address}/sessions"
    return livy


@pytest.mark.parametrize("broker", [0, 1])
def test_i2_pylivy_does_not_notice_that_a_broker_is_killed(cluster, balancer, broker):
    """livy#113, #118, #121: killed when the answer to its POST is there; its connection was to one of the two"""
    kept, victims = requests.Session(), []

    def kill_after_post(response, *_, **__):
        if victims and response.request.path_url.endswith("/statements"):
            victims.pop().kill()

    kept.hooks["response"] = kill_after_post
    with PyLivy.create(f"http://{balancer.address}", kind=SessionKind.PYSPARK, requests_session=kept) as session:
        session.run("x = 20")
        victims.append(cluster.brokers[broker])
        assert session.run("import time; time.sleep(2); x + 22").text == "42"
        assert not victims


def test_i2_a_notebook_does_not_notice_that_a_broker_is_killed(cluster, balancer, tmp_path):
    """livy#113, #115, #120: sparkmagic, which has sent a cell and asks for its end"""
    reached, go = tmp_path / "reached", tmp_path / "go"
    run = Run(balancer.address, "balanced.ipynb", tmp_path, NOTEBOOK_REACHED=str(reached), NOTEBOOK_GO=str(go))
    try:
        wait_until(lambda: run.reached(reached), 400, "the notebook does not get to its kill")
        cluster.brokers[0].kill()
        go.touch()
        shown = run.wait()
        assert (shown.text_of("print(x + 22"), shown.text_of("print(x + 23")) == ("42 7 100", "43")
    finally:
        run.end()


def test_ids_and_names_are_one_brokers_alone(cluster, balancer):
    """livy#116: both brokers make sessions at the same time, and one name is fought for"""
    addresses = [f"{host}:{port}" for host, port in cluster.addresses("Livy")]

    def create(turn):
        session = LivySession(addresses[turn % 2])
        session.close()
        return session.id

    def create_named(turn):
        try:
            return LivySession(addresses[turn % 2], name="wanted")
        except urllib.error.HTTPError as refused:
            assert refused.code == 400
            assert json.load(refused)["msg"].startswith("Rejected, Reason: Duplicate session name")
            return None

    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(create, range(4)))
        assert len(set(ids)) == 4, ids
        named = [session for session in pool.map(create_named, range(8)) if session]
    (winner,) = named
    assert winner.id > max(ids)
    winner.close()


def test_each_answer_comes_in_time_while_a_node_is_lost(cluster, balancer):
    """livy#113, #115, #118: reads at either broker, from before the loss is known until the session is back"""
    livy = Timed(balancer.address).wait_idle()
    livy.run("x = 20")
    waiting = livy.submit("import time; time.sleep(600)")
    node = cluster.node(cluster.session(dialect="livy", client_id=str(livy.id))["node"])
    livy.slowest = 0.0
    node.cut()
    try:
        def ended():
            livy.state()
            livy.call("GET", f"/{livy.id}")
            livy.call("GET", f"/{livy.id}/statements")
            return livy.ended(waiting)
        output = wait_until(ended, 120, "the statement does not end")["output"]
        assert output["ename"] == "OutcomeUnknown"
        wait_until(lambda: livy.state() == "idle", 120, "the session does not come back")
        assert livy.slowest < PROMISED
        assert livy.run("x + 22") == "42"
    finally:
        node.mend()
    livy.close()
