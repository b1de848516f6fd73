"""What travels besides plans and rows: compression, pings, status, error details, progress, the end of a session."""

import subprocess
import sys
import time
import uuid

import grpc
import pytest
from berth_up import wait_until
from pyspark.sql.connect.proto import base_pb2 as pb
from pyspark.sql.functions import udf
from wire import ENDLESS, Wire, error_of


@pytest.fixture
def wire(up, kept):
    made = Wire(up.endpoints["connect"], "kept", kept.session_id)
    yield made
    made.close()


def test_compressed_requests(wire, shared):
    """connect#15, connect#16: gzip by gRPC, zstd by PySpark itself above 10 MiB of plan"""
    key = "spark.sql.session.timeZone"
    assert wire.config(key, compression=grpc.Compression.Gzip) == wire.config(key)
    text = "x" * (24 << 20)
    assert shared.sql(f"select length('{text}') as n").first().n == len(text)


def test_clients_that_ping_are_not_sent_away(up, kept):
    """connect#17, connect#18: pings without calls, as often as gRPC lets a client send them"""
    often = [("grpc.keepalive_time_ms", 1000), ("grpc.keepalive_permit_without_calls", 1),
             ("grpc.http2.max_pings_without_data", 0)]
    wire = Wire(up.endpoints["connect"], "kept", kept.session_id, often)
    seen = []
    wire.channel.subscribe(seen.append)
    zone = wire.config("spark.sql.session.timeZone")
    connected = len(seen)
    time.sleep(6)  # The case itself: a client that is idle for several pings.
    assert wire.config("spark.sql.session.timeZone") == zone
    assert seen[connected - 1] is grpc.ChannelConnectivity.READY and len(seen) == connected
    wire.close()


def test_status_tells_running_operations_by_the_clients_ids(wire):
    """connect#39"""
    request = wire.plan(ENDLESS)
    stream = wire.execute(request)

    # Spark loses an interrupt that comes before the first task: its stages are submitted by another thread.
    next(each for each in stream if each.execution_progress.num_inflight_tasks)
    assert wire.running(request.operation_id)
    asked = pb.InterruptRequest(interrupt_type=pb.InterruptRequest.INTERRUPT_TYPE_OPERATION_ID,
                                operation_id=request.operation_id, **wire.who)
    assert wire.stub.Interrupt(asked).interrupted_ids == [request.operation_id]
    with pytest.raises(grpc.RpcError) as raised:
        list(stream)
    assert error_of(raised)[0] == "OPERATION_CANCELED"
    wait_until(lambda: not wire.running(request.operation_id), 30, "an interrupted operation runs on")


def failing(wire):
    """The error class and id of a query that fails."""
    with pytest.raises(grpc.RpcError) as raised:
        list(wire.execute(wire.plan("select 1 / (id - id) from range(3)")))
    return error_of(raised)


def details(wire, error_id):
    answer = wire.stub.FetchErrorDetails(pb.FetchErrorDetailsRequest(error_id=error_id, **wire.who))
    return [error.spark_throwable.error_class for error in answer.errors]


def test_details_and_progress_of_operations(wire, shared):
    """connect#38 on one broker, connect#40"""
    error_class, error_id = failing(wire)
    assert error_class == "DIVIDE_BY_ZERO"
    assert "DIVIDE_BY_ZERO" in details(wire, error_id)
    done = []

    def progress(stages, inflight_tasks, operation_id, done_=None, **_rest):
        done.append(sum(stage.num_completed_tasks for stage in stages))

    @udf("long")
    def slowly(n):
        import time
        time.sleep(0.25)
        return n

    # Spark reports every two seconds.
    shared.registerProgressHandler(progress)
    try:
        shared.range(0, 40, 1, 40).select(slowly("id")).collect()
    finally:
        shared.removeProgressHandler(progress)
    assert done == sorted(done) and done[-1] > 0


def test_after_a_kill_status_details_and_interrupts_are_still_answered(up, spark, user):
    """connect#36, connect#38, connect#39: of an epoch that is over, without an error that is none of the client's"""
    wire = Wire(up.endpoints["connect"], user, spark.session_id)
    kept = wire.plan("select 1")
    list(wire.execute(kept))
    _, error_id = failing(wire)
    view = "select 1 as n"
    spark.sql(view).createOrReplaceTempView("v")
    up.wait_warm()
    up.kill_driver(user)
    unknown = pb.InterruptRequest(interrupt_type=pb.InterruptRequest.INTERRUPT_TYPE_ALL, **wire.who)
    assert list(wire.stub.Interrupt(unknown).interrupted_ids) == []
    assert details(wire, error_id) in ([], ["DIVIDE_BY_ZERO"])
    assert wire.stub.GetStatus(pb.GetStatusRequest(**wire.who)).session_id == spark.session_id
    assert wire.states()[kept.operation_id] == "SUCCEEDED"
    stranger = str(uuid.uuid4())
    assert wire.states(kept.operation_id, stranger) == {kept.operation_id: "SUCCEEDED", stranger: "UNKNOWN"}
    # Neither of them has made an empty session in place of the old one.
    assert spark.table("v").collect() == [(1,)]
    wire.close()


def test_a_session_is_ended_and_its_id_taken_again(up, user):
    """connect#83, connect#84"""
    up.wait_warm()
    wire = Wire(up.endpoints["connect"], user)
    list(wire.execute(wire.plan("create temp view v as select 1 as n")))
    wire.stub.ReleaseSession(pb.ReleaseSessionRequest(allow_reconnect=True, **wire.who))
    with pytest.raises(grpc.RpcError) as raised:
        list(wire.execute(wire.plan("select * from v")))
    assert error_of(raised)[0] == "TABLE_OR_VIEW_NOT_FOUND"
    wire.stub.ReleaseSession(pb.ReleaseSessionRequest(**wire.who))
    with pytest.raises(grpc.RpcError) as raised:
        list(wire.execute(wire.plan("select 1")))
    assert error_of(raised)[0] == "INVALID_HANDLE.SESSION_CLOSED"
    wire.close()


def test_the_end_of_a_session_whose_driver_was_lost(up, spark, user):
    """connect#83: after a failover the id is as closed as before one"""
    up.kill_driver(user)
    assert spark.range(3).count() == 3
    wire = Wire(up.endpoints["connect"], user, spark.session_id)
    wire.end()
    with pytest.raises(grpc.RpcError) as raised:
        list(wire.execute(wire.plan("select 1")))
    assert error_of(raised)[0] == "INVALID_HANDLE.SESSION_CLOSED"
    wire.close()


def test_a_program_that_ends_leaves_no_session(up, user):
    """connect#85: after stop, what PySpark does when the interpreter exits does not open the session again"""
    program = (f"from pyspark.sql import SparkSession\n"
               f"spark = SparkSession.builder.remote('{up.url}/;user_id={user}').create()\n"
               f"assert spark.range(3).count() == 3\nspark.stop()\n")
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
    assert [row for row in up.ask("sessions") if row["owner"] == user] == []


def test_i8_a_flood_of_small_calls_leaves_others_be(up, kept, shared, connect, user):
    """connect#89: ten thousand releases and configs at once, another session's query beside them"""
    flood = Wire(up.endpoints["connect"], "kept", kept.session_id)
    key = pb.ConfigRequest(**flood.who)
    key.operation.get.keys.append("spark.sql.session.timeZone")
    release = pb.ReleaseExecuteRequest(operation_id=str(uuid.uuid4()), **flood.who)
    release.release_all.SetInParent()
    calls = []
    for _ in range(5000):
        calls += [flood.stub.Config.future(key), flood.stub.ReleaseExecute.future(release)]
    up.wait_warm()
    other = connect(user)
    assert other.range(1000).selectExpr("sum(id)").first()[0] == 499_500
    assert all(call.exception(timeout=120) is None for call in calls)
    flood.close()
