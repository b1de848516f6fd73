"""Any broker serves HiveServer2's protocol over HTTP. Cases: spec of HiveServer2's Thrift protocol."""

import signal
import socket

import pytest
from berth_cluster import BROKER_CONFIG
from berth_up import wait_until
from hive_probe import ERROR, SUCCESS, Probe, basic, trusting
from kyuubi_client import Kyuubi
from pyhive import exc, hive
from thrift.transport.THttpClient import THttpClient
from thrift.transport.TTransport import TTransportBase, TTransportException

SLOW = "select count(*) as n from range(1000000000000) where hash(id) = 7"
ANN, BOB = "ann-token-0123456789", "bob-token-0123456789"
COOKIE = "hive.server2.auth"
GUARDED = BROKER_CONFIG.replace("[store]", """tls-cert = "{certs}/broker.pem"
tls-key = "{certs}/broker.key"
[auth]
token-file = "{directory}/tokens"
[store]""")


def address_of(broker, what):
    """Where it was bound the last time that it was started."""
    lines = [line for line in broker.said().splitlines() if line.strip().startswith(what)]
    return lines[-1]


def http_of(broker):
    return address_of(broker, "HiveServer2").split("(")[1].split("//")[1].split("/")[0]


def binary_of(broker):
    return address_of(broker, "HiveServer2").split("jdbc:hive2://")[1].split()[0]


def has_left(probe):
    """True once the broker has closed a connection."""
    try:
        probe.info(17)
        return False
    except (EOFError, OSError, TTransportException):
        return True


class Turns(TTransportBase):
    """A balancer that sends each request to the next broker, past those that refuse a connection."""

    def __init__(self, addresses, user):
        self.clients = [THttpClient(f"http://{address}/cliservice") for address in addresses]
        for client in self.clients:
            client.setCustomHeaders(basic(user))
        self.data, self.asked = b"", []

    def isOpen(self):
        return True

    def open(self):
        pass

    def close(self):
        pass

    def write(self, data):
        self.data += data

    def flush(self):
        data, self.data = self.data, b""
        for _ in self.clients:
            self.clients.append(self.clients.pop(0))
            try:
                self.clients[-1].write(data)
                self.clients[-1].flush()
                return self.asked.append(self.clients[-1].port)
            except ConnectionRefusedError:
                continue
        raise ConnectionRefusedError("no broker")

    def read(self, size):
        return self.clients[-1].read(size)


@pytest.fixture
def addresses(cluster):
    """The two brokers; those that a test has killed run again afterwards."""
    cluster.wait_warm()
    yield [http_of(broker) for broker in cluster.brokers]
    for broker in cluster.brokers:
        if broker.process.poll() is not None:
            broker.start().wait_for("is up")


@pytest.fixture
def both(addresses, user):
    """One user's connection to each of them, with one session."""
    one, two = [Probe(address, "http", headers=basic(user)) for address in addresses]
    conf = {"spark.sql.shuffle.partitions": "3"}
    assert one.open(profile="default", conf=conf).status.statusCode == SUCCESS
    two.session = one.session
    return one, two


def test_i4_calls_of_one_session_go_to_either_broker(both, addresses):
    """hs2#64"""
    one, two = both
    one.run("create temporary view v as select id from range(250)")
    assert two.value("select count(*) from v") == 250
    assert two.rows(two.run("set spark.sql.shuffle.partitions"))[0][1] == "3"
    operation = one.execute("select id from v order by id", asynchronous=True).operationHandle
    assert two.wait(operation).operationState == 2
    assert two.columns(operation)[0][0] == "id"
    # One place in the result, whichever broker is asked.
    pages = [at.rows(operation, rows=100) for at in (one, two, one, two)]
    assert [len(page) for page in pages] == [100, 100, 50, 0]
    assert [row[0] for page in pages for row in page] == list(range(250))

    stranger = Probe(addresses[1], "http", headers=basic("somebody"))
    stranger.session = one.session
    assert "Invalid OperationHandle" in stranger.fetch(operation).status.errorMessage
    assert "Invalid SessionHandle" in stranger.execute("select 1").status.errorMessage

    assert two.close_operation(operation).statusCode == SUCCESS
    assert "Invalid OperationHandle" in one.status(operation).status.errorMessage
    slow = one.execute(SLOW, asynchronous=True).operationHandle
    assert two.cancel(slow).statusCode == SUCCESS
    assert one.wait(slow).operationState == 3
    assert two.close_session().statusCode == SUCCESS
    assert "Invalid SessionHandle" in one.execute("select 1").status.errorMessage
    assert one.close_session().statusCode == ERROR


def test_i2_a_session_goes_on_when_its_broker_is_killed(cluster, both):
    """hs2#65: the session and its state; of what ran there its client is told to run it again, and it is ended"""
    one, two = both
    one.run("create temporary view v as select id from range(7)")
    operation = one.execute(SLOW, asynchronous=True).operationHandle
    runs = lambda: any("tasks" in line for (line,) in one.rows(operation, kind=1))  # noqa: E731
    wait_until(runs, 60, "it does not run")
    cluster.brokers[0].kill()
    # What still ran would hold the session's only core.
    assert two.value("select count(*) from v") == 7

    def gone():
        status = two.status(operation).status
        assert status.statusCode == ERROR
        return "run the statement again" in status.errorMessage

    wait_until(gone, 30, "the operation of a broker that has gone is not told as such")
    assert two.close_session().statusCode == SUCCESS


def test_i7_what_only_a_dead_broker_could_serve_leaves_its_driver(cluster, addresses, user):
    """hs2#43, hs2#67: the session of a connection; one that was opened over HTTP stays"""
    binary = Probe(binary_of(cluster.brokers[0]), user=user)
    assert binary.open(profile="default").status.statusCode == SUCCESS
    assert binary.value("select 1") == 1
    http = Probe(addresses[0], "http", headers=basic(user))
    assert http.open(profile="default").status.statusCode == SUCCESS
    assert http.value("select 1") == 1
    mine = lambda: [each["id"] for each in cluster.ask("sessions") if each["owner"] == user]  # noqa: E731
    assert len(mine()) == 2
    cluster.brokers[0].kill()
    wait_until(lambda: len(mine()) == 1, 150, "the session of a connection that is gone is still there")
    two = Probe(addresses[1], "http", headers=basic(user))
    two.session = http.session
    assert two.value("select 1") == 1
    assert two.close_session().statusCode == SUCCESS


def test_pyhive_needs_no_balancer_that_is_sticky(cluster, addresses, user):
    """hs2#64, #65: each call of an unmodified client goes to the next broker, one of which dies"""
    turns = Turns(addresses, user)
    cursor = hive.connect(thrift_transport=turns, username=user).cursor(arraysize=100)
    cursor.execute("create temporary view v as select id from range(1000)")
    cursor.execute("select id from v order by id")
    assert cursor.fetchall() == [(number,) for number in range(1000)]
    assert len(set(turns.asked)) == 2 and len(turns.asked) > 10
    cluster.brokers[0].kill()
    for _ in range(4):
        cursor.execute("select sum(id) from v")
        assert cursor.fetchall() == [(499500,)]
    with pytest.raises(exc.OperationalError, match="TABLE_OR_VIEW_NOT_FOUND"):
        cursor.execute("select * from nowhere")


@pytest.fixture
def patient(cluster):
    """A broker that waits for its clients when it is told to end."""
    config = BROKER_CONFIG.replace("[broker]", "[broker]\nhs2.drain-seconds = 120")
    made = cluster.process("patient", "broker", config).start()
    made.wait_for("is up")
    yield made
    made.end()


def test_a_broker_that_is_told_to_end_waits_for_its_connections(cluster, patient, user):
    """hs2#61: its sessions go on, no new one begins, and it ends with the last of them"""
    cluster.wait_warm()
    address = binary_of(patient)
    probe, other = Probe(address, user=user), Probe(address, user=user)
    assert probe.open(profile="default").status.statusCode == SUCCESS
    probe.run("create temporary view v as select id from range(7)")
    other.session = probe.session
    patient.signal(signal.SIGTERM)
    # One without a session is not waited for.
    wait_until(lambda: has_left(other), 30, "a connection without a session goes on")
    assert probe.value("select count(*) from v") == 7
    refused = probe.open(profile="default").status
    assert refused.statusCode == ERROR and "connect again" in refused.errorMessage
    patient.process.wait(60)


# One task of some 20 s.
LONG = "select count(*) as n from range(0, 2000000000, 1, 1) where hash(id) = 7 and hash(id + 1) = 8"


def is_shut(address):
    host, port = address.split("://")[-1].split("/")[0].rsplit(":", 1)
    with socket.socket() as knocking:
        return knocking.connect_ex((host, int(port))) != 0


def test_operations_over_rest_and_http_are_fetched_before_their_broker_ends(cluster, patient, user):
    """kyuubi#72, hs2#65: from another broker, which asks the one that is told to end"""
    cluster.wait_warm()
    here, there = [Kyuubi(address_of(broker, "Kyuubi").split("//")[1].strip(), user) for broker in (patient, cluster.brokers[0])]
    session = here.open()
    http = [Probe(http_of(broker), "http", user=user) for broker in (patient, cluster.brokers[0])]
    assert http[0].open(profile="default").status.statusCode == SUCCESS
    http[1].session = http[0].session
    begun, many = session.begin(LONG), http[0].execute("select id from range(1000)").operationHandle
    patient.signal(signal.SIGTERM)
    wait_until(lambda: is_shut(http_of(patient)), 30, "its door for clients is open")
    elsewhere = session.at(there)
    assert elsewhere.event(begun)["state"] in ("PENDING_STATE", "RUNNING_STATE"), "it was over too soon to show anything"
    assert len(http[1].rows(many)) == 1000
    assert elsewhere.settled(begun)["state"] == "FINISHED_STATE"
    assert elsewhere.rows(begun) == [[0]]
    patient.process.wait(60)
    assert elsewhere.run("select 1") == [[1]]
    elsewhere.close()
    http[1].close_session()


@pytest.fixture
def guarded(cluster):
    """Two more brokers of the cluster, which ask for tokens, over TLS."""
    (cluster.directory / "tokens").write_text(f"{ANN} ann science\n{BOB} bob arts\n")
    made = [cluster.process(f"guarded-{n}", "broker", GUARDED).start() for n in range(2)]
    for broker in made:
        broker.wait_for("is up")
    yield made
    for broker in made:
        broker.end()


def test_i7_over_tls_a_login_at_one_broker_is_good_at_the_other(cluster, guarded):
    """hs2#10, #64, kyuubi#71: the cookie, and calls that brokers pass on to each other"""
    cluster.wait_warm()
    ca = str(cluster.certs / "ca.pem")
    one, two = [Probe(http_of(broker), "http", ca=ca, headers=basic("ann", ANN)) for broker in guarded]
    assert one.open(profile="default").status.statusCode == SUCCESS
    cookie = one.transport.headers["Set-Cookie"]
    assert cookie.startswith(f"{COOKIE}=") and "HttpOnly" in cookie and "Secure" in cookie and "Max-Age=86400" in cookie
    operation = one.execute("select id from range(5)").operationHandle
    two.transport.setCustomHeaders({"Cookie": cookie.split(";")[0]})
    two.session = one.session
    assert two.rows(operation) == [[number] for number in range(5)]
    assert two.value("select 1") == 1
    assert two.transport.headers["Set-Cookie"] is None

    kyuubi = [Kyuubi(address_of(broker, "Kyuubi").split("//")[1].strip(), "ann", ANN, "https", trusting(ca)) for broker in guarded]
    session = kyuubi[0].open()
    begun = session.begin("select id from range(5)")
    there = session.at(kyuubi[1])
    assert there.settled(begun)["state"] == "FINISHED_STATE"
    assert [row[0] for row in there.rows(begun)] == list(range(5))
    session.close()
    two.close_session()
