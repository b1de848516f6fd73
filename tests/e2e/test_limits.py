"""Limits of a broker and its nodes: told by name, in time, and others do not feel them."""

import grpc
import pytest
from berth_up import Up, wait_until
from google.rpc import error_details_pb2, status_pb2
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession
from wire import ENDLESS, Wire, error_of

ANN, BOB, OPS = "ann-token-0123456789", "bob-token-0123456789", "ops-token-0123456789"


@pytest.fixture(scope="module")
def narrow(tmp_path_factory):
    """A Berth with one driver at once, results given up soon, and short lineages."""
    sets = ("agent.driver-slots=1", "broker.hold-seconds=8", "broker.detached-seconds=1", "broker.lineage-entries=40")
    flags = [part for each in sets for part in ("--set", each)]
    berth = Up(tmp_path_factory.mktemp("narrow"), "--warm", "0", *flags)
    yield berth
    berth.stop()


@pytest.fixture
def wire(narrow, user):
    made = Wire(narrow.endpoints["connect"], user)
    list(made.execute(made.plan("select 1")))
    yield made
    made.end()
    made.close()
    wait_until(lambda: not narrow.ask("drivers"), 60, "a driver stays behind")


def retry_delay(raised):
    """The seconds after which a client is asked to come again."""
    packed = dict(raised.value.trailing_metadata())["grpc-status-details-bin"]
    info = error_details_pb2.RetryInfo()
    assert any(detail.Unpack(info) for detail in status_pb2.Status.FromString(packed).details)
    return info.retry_delay.seconds + info.retry_delay.nanos / 1e9


def test_there_is_no_room_for_a_driver(narrow, wire, user):
    """connect#76: the client waits for its time, is told to come again, and is served when there is room"""
    other = Wire(narrow.endpoints["connect"], f"{user}x")
    with pytest.raises(grpc.RpcError) as raised:
        list(other.execute(other.plan("select 2")))
    assert raised.value.code() == grpc.StatusCode.UNAVAILABLE
    assert "slot free" in raised.value.details() and 0 < retry_delay(raised) < 60
    assert len(list(wire.execute(wire.plan("select 1")))) > 0
    wire.end()
    assert len(list(other.execute(other.plan("select 2")))) > 0
    other.end()
    other.close()


def test_i8_a_result_that_nobody_reads_is_given_up(narrow, wire):
    """connect#29: its driver stops working for it, and its buffers are freed"""
    request = wire.plan(ENDLESS)
    stream = wire.execute(request)
    next(each for each in stream if each.execution_progress.num_inflight_tasks)
    assert wire.running(request.operation_id)
    stream.cancel()
    wait_until(lambda: not wire.running(request.operation_id), 60, "its driver works on")
    wait_until(lambda: narrow.metric("berth_connect_operations") == 0, 60, "the operation is kept")
    with pytest.raises(grpc.RpcError) as raised:
        list(wire.reattach(request.operation_id))
    assert error_of(raised)[0].startswith("INVALID_HANDLE.OPERATION_")


def test_i8_a_lineage_that_is_full_refuses_changes_and_nothing_else(narrow, user):
    """connect#81, connect#82: what later changes replace makes place by itself"""
    spark = SparkSession.builder.remote(f"{narrow.url}/;user_id={user}").create()
    for n in range(120):
        spark.conf.set("berth.test", str(n))
    for n in range(30):
        spark.range(n).createOrReplaceTempView(f"v{n}")
    with pytest.raises(PySparkException, match="BERTH.LINEAGE_FULL.*broker.lineage-entries"):
        for n in range(30, 60):
            spark.range(n).createOrReplaceTempView(f"v{n}")
    assert spark.table("v29").count() == 29
    assert spark.conf.get("berth.test") == "119"
    narrow.kill_driver(user)
    assert spark.table("v29").count() == 29
    assert spark.conf.get("berth.test") == "119"
    spark.stop()
    wait_until(lambda: not narrow.ask("drivers"), 60, "a driver stays behind")


def test_i5_a_tenants_limit_is_its_own(tmp_path):
    """connect#88: while one tenant has all that it may have, another one is served"""
    tokens = tmp_path / "tokens"
    tokens.write_text(f"{ANN} ann crowded\n{BOB} bob free\n{OPS} ops ops operator\n")
    sets = (f"auth.token-file={tokens}", "broker.tenants.crowded.sessions=1")
    flags = [part for each in sets for part in ("--set", each)]
    berth = Up(tmp_path / "data", "--warm", "1", *flags, env={"BERTH_TOKEN": OPS})
    try:
        berth.wait_warm()
        wires = [Wire(berth.endpoints["connect"], name, token=token)
                 for name, token in (("ann", ANN), ("ann", ANN), ("bob", BOB))]
        first, second, other = wires
        assert first.config("spark.sql.session.timeZone")
        with pytest.raises(grpc.RpcError) as raised:
            second.config("spark.sql.session.timeZone")
        assert raised.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "may have 1: close one first" in raised.value.details()
        assert other.config("spark.sql.session.timeZone")
        first.end()
        assert second.config("spark.sql.session.timeZone")
        for wire in wires:
            wire.close()
    finally:
        berth.stop()
