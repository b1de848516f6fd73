"""Many sessions of HiveServer2's protocol at once, and their limit. Cases: spec of that protocol, section 10."""

import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from berth_up import Up, activate, wait_until
from gate import Gate
from hive_probe import ERROR, SUCCESS, Probe
from pyspark.sql import SparkSession

IDLE, BUSY = 500, 50
# A question about a running operation waits so long. Nothing here takes nearly as much: what is answered sooner did
# not wait for the time to pass.
POLL = 60


def flags(*sets):
    return [part for each in sets for part in ("--set", each)]


@pytest.fixture(scope="module")
def crowded(tmp_path_factory):
    """A Berth with one driver for all, which has room for tasks that wait."""
    profile = "agent.profiles.default"
    sets = flags(
        f"{profile}.share=tenant", f"{profile}.sessions-per-driver=1000", f"{profile}.master=local[8]",
        f"broker.default-limits.sessions={IDLE + BUSY}", f"broker.sql.poll-seconds={POLL}")
    berth = Up(tmp_path_factory.mktemp("crowded"), "--warm", "0", *sets)
    yield berth
    berth.stop()


def probe_of(berth, number):
    return Probe(berth.endpoints["hs2"], user=f"u{number}")


def opened(berth, number, **conf):
    probe = probe_of(berth, number)
    response = probe.open(profile="default", conf=conf)
    assert response.status.statusCode == SUCCESS, response.status.errorMessage
    return probe


@pytest.fixture(scope="module")
def held(crowded):
    """A session whose statements are finished with their first rows; and the same over Spark Connect, where functions
    are made that wait for a test."""
    probe = opened(crowded, "held", **{"kyuubi.operation.incremental.collect": "true"})
    # The others find its driver there.
    assert probe.value("select 1") == 1
    session = uuid.UUID(bytes=probe.session.sessionId.guid)
    spark = SparkSession.builder.remote(f"{crowded.url}/;user_id=uheld;session_id={session}").create()
    yield probe, spark
    spark.stop()
    probe.leave()


@pytest.fixture(scope="module")
def others(crowded, held):
    """All other sessions for which there is room."""
    with ThreadPoolExecutor(8) as threads:
        probes = list(threads.map(lambda number: opened(crowded, number), range(IDLE + BUSY - 1)))
    yield probes
    for probe in probes:
        probe.leave()


def test_a_question_ends_with_its_operation(crowded, held, tmp_path):
    """hs2#23, #24: a statement that waits has its handle at once; who asks about it hears of its end, not later"""
    probe, spark = held
    activate(spark)
    gate = Gate(tmp_path, "late")
    gate.register(spark)
    operation = probe.execute("select sum(late(id)) from range(0, 4, 1, 4)", asynchronous=True).operationHandle
    other = probe_of(crowded, "held")
    with ThreadPoolExecutor() as threads:
        asked = threads.submit(other.status, operation)
        try:
            wait_until(lambda: any("tasks" in line for (line,) in probe.rows(operation, kind=1)), 60, "it does not run")
            assert not asked.done(), asked.result()
        finally:
            gate.open()
        begun = time.monotonic()
        assert asked.result().operationState == 2
    assert time.monotonic() - begun < POLL / 2
    assert probe.rows(operation) == [[6]]
    other.leave()


def rest_of(probe, operation):
    found = []
    while rows := probe.rows(operation, rows=100):
        found += [number for (number,) in rows]
    return found


def test_fifty_work_among_five_hundred_while_a_fetch_waits(crowded, held, others, tmp_path):
    """hs2#62: all are answered rightly, and so is who asks about the operation whose rows are waited for"""
    probe, spark = held
    activate(spark)
    gate = Gate(tmp_path)
    gate.register(spark)
    states = [session["state"] for session in crowded.ask("sessions")]
    assert states.count("active") == IDLE + BUSY
    assert len(crowded.ask("drivers")) == 1
    operation = probe.execute("select gate(id) as id from range(0, 400, 1, 4)", asynchronous=True).operationHandle
    assert probe.wait(operation).operationState == 2, "its first rows are there"
    asking = probe_of(crowded, "held")
    with ThreadPoolExecutor(BUSY + 1) as threads:
        waiting = threads.submit(rest_of, probe, operation)
        try:
            statements = [f"select sum(id) + {number} from range(0, 100, 1, 2)" for number in range(BUSY)]
            answers = list(threads.map(Probe.value, others[:BUSY], statements))
            assert answers == [4950 + number for number in range(BUSY)]
            assert asking.status(operation).operationState == 2
            assert not waiting.done(), waiting.result()
        finally:
            gate.open()
        assert waiting.result() == list(range(400))
    asking.leave()


def is_open(probe):
    """Whether there is room for a session; the limit is told if not."""
    response = probe.open(profile="default")
    if response.status.statusCode == SUCCESS:
        return True
    assert (response.status.statusCode, response.status.sqlState, response.sessionHandle) == (ERROR, "53000", None)
    assert f"may have {IDLE + BUSY}: close one first" in response.status.errorMessage
    return False


def test_i5_a_limit_of_sessions_is_told(crowded, others):
    """hs2#67: what is closed makes room at once, and so does a connection that breaks"""
    first, second = probe_of(crowded, "first"), probe_of(crowded, "second")
    assert not is_open(first)
    assert others.pop().close_session().statusCode == SUCCESS
    assert is_open(first) and not is_open(second)
    others.pop().leave()
    wait_until(lambda: is_open(second), 30, "the session of a broken connection takes a place")
    assert first.value("select 1") == second.value("select 1") == 1
    first.leave()
    second.leave()


def test_sessions_outlive_their_connection_where_that_is_set(tmp_path):
    """hs2#43: any connection of the user goes on, which needs no driver here"""
    sets = flags("broker.hs2.close-on-disconnect=false", "agent.driver-slots=0", "agent.catalog=none")
    berth = Up(tmp_path / "stays", "--warm", "0", *sets)
    try:
        first, second = opened(berth, 1), probe_of(berth, 1)
        first.leave()
        wait_until(lambda: berth.metric('berth_connections{listener="hs2"}') == 1, 30, "the connection stays")
        second.session = first.session
        assert second.info(17).infoValue.stringValue == "Spark SQL"
        assert second.close_session().statusCode == SUCCESS
        assert "Invalid SessionHandle" in second.info(17).status.errorMessage
        second.leave()
    finally:
        berth.stop()
