"""Clients that behave badly: a clear error or a bounded wait, and memory that stays flat."""

import socket
import subprocess
import urllib.error
import urllib.request

import grpc
import pytest
from berth_up import Up, wait_until
from pyspark.sql import SparkSession

SERVICE = "/spark.connect.SparkConnectService/"
MIB = 1 << 20


def resident(up):
    """MiB that the process holds."""
    with open(f"/proc/{up.process.pid}/status") as status:
        (line,) = [line for line in status if line.startswith("VmRSS")]
    return int(line.split()[1]) >> 10


def call(up, method, body, timeout=60):
    """The status of a unary call with a body that no library has made."""
    with grpc.insecure_channel(up.endpoints["connect"], options=[("grpc.max_send_message_length", -1)]) as channel:
        raw = channel.unary_unary(method, request_serializer=bytes, response_deserializer=bytes)
        with pytest.raises(grpc.RpcError) as raised:
            raw(body, timeout=timeout)
        return raised.value.code(), raised.value.details()


def field(number, data):
    size, head = len(data), bytes([number << 3 | 2])
    while size > 0x7F:
        head += bytes([size & 0x7F | 0x80])
        size >>= 7
    return head + bytes([size]) + data


def test_a_garbled_first_message_is_told_so(up):
    code, text = call(up, SERVICE + "AnalyzePlan", b"\xff\xff\xff\xff garbage")
    assert code == grpc.StatusCode.INTERNAL or code == grpc.StatusCode.INVALID_ARGUMENT, (code, text)
    assert text


def test_a_session_id_that_is_no_uuid(up):
    """connect#6"""
    code, text = call(up, SERVICE + "AnalyzePlan", field(1, b"me"))
    assert "INVALID_HANDLE.FORMAT" in text, (code, text)


def test_an_unknown_method(up):
    """connect#9"""
    code, _ = call(up, SERVICE + "Sing", b"")
    assert code == grpc.StatusCode.UNIMPLEMENTED


def test_health_answers(up):
    """connect#9"""
    with grpc.insecure_channel(up.endpoints["connect"]) as channel:
        check = channel.unary_unary("/grpc.health.v1.Health/Check", request_serializer=bytes, response_deserializer=bytes)
        assert check(b"", timeout=10) == b"\x08\x01"


def test_i8_an_oversized_message_is_refused_and_not_kept(up):
    """connect#13: 129 MiB"""
    before = resident(up)
    for _ in range(3):
        code, text = call(up, SERVICE + "AnalyzePlan", field(1, b"x" * (129 * MIB)))
        assert code in (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.OUT_OF_RANGE), (code, text)
    assert resident(up) < before + 300


def test_i8_a_thousand_clients_that_say_nothing(up, shared):
    before = resident(up)
    host, port = up.endpoints["connect"].split(":")
    silent = [socket.create_connection((host, int(port))) for _ in range(1000)]
    try:
        assert shared.range(3).count() == 3
        assert resident(up) < before + 150
        # They are dropped, and not when they like.
        silent[0].settimeout(30)
        while silent[0].recv(1 << 16):
            pass
    finally:
        for each in silent:
            each.close()
    assert shared.range(3).count() == 3


def test_i8_a_client_that_stops_reading_holds_little(up, connect, shared, user):
    """connect#20: 150 MiB of result, of which nothing is read for a while"""
    up.wait_warm()
    spark = connect(user)
    assert spark.range(1).count() == 1
    before = resident(up)
    rows = spark.sql("select id, repeat('x', 1000) as t from range(150000)").toLocalIterator()
    assert next(rows).id == 0
    assert shared.range(3).count() == 3
    assert resident(up) < before + 90
    assert sum(1 for _ in rows) == 149_999
    assert resident(up) < before + 120


def test_large_messages_pass(up, shared):
    """connect#13, #44: 40 MiB of data up, 50 MiB in one row down"""
    text = "x" * MIB
    frame = shared.createDataFrame([(text,)] * 40, ["t"])
    assert frame.selectExpr("sum(length(t)) as s").first().s == 40 * MIB
    (row,) = shared.sql("select repeat('x', 50 * 1024 * 1024) as t").collect()
    assert len(row.t) == 50 * MIB


def test_a_request_just_below_the_limit_passes(up):
    """connect#13: 127 MiB, most of it a field that nobody knows"""
    import uuid
    body = field(1, str(uuid.uuid4()).encode()) + field(2, field(1, b"large")) + field(10, b"")
    body += b"\x9a\x06" + field(1, b"x" * (127 * MIB))[1:]
    up.wait_warm()
    options = [("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(up.endpoints["connect"], options=options) as channel:
        analyze = channel.unary_unary(SERVICE + "AnalyzePlan", request_serializer=bytes, response_deserializer=bytes)
        assert analyze(body, timeout=120)
    up.run("close", up.session(owner="large")["id"])


def test_zero_rows_and_many_small_batches(shared):
    """connect#19"""
    assert shared.range(0).collect() == []
    assert shared.range(0, 30_000, 1, 200).toPandas().id.sum() == sum(range(30_000))


def test_a_deep_plan_passes(shared):
    """connect#14"""
    frame = shared.range(1)
    for n in range(200):
        frame = frame.withColumnRenamed("id" if n == 0 else f"c{n - 1}", f"c{n}")
    assert frame.columns == ["c199"]


def test_a_closed_session_stays_closed_unless_asked_otherwise(up, connect, user):
    """connect#83"""
    import uuid

    up.wait_warm()
    session_id = str(uuid.uuid4())
    first = connect(user, session_id=session_id)
    assert first.range(3).count() == 3
    first.stop()
    again = SparkSession.builder.remote(f"{up.url}/;user_id={user};session_id={session_id}").create()
    with pytest.raises(Exception, match="SESSION_CLOSED"):
        again.range(3).count()
    again.stop()


def test_empty_users_and_named_ones_do_not_meet(up):
    """connect#7: over the wire, since PySpark always names a user"""
    import uuid
    session_id = str(uuid.uuid4()).encode()
    # AnalyzePlanRequest: session id 1, user context 2 {user id 1}, spark_version 10.
    spark_version = field(1, session_id) + field(10, b"")
    with grpc.insecure_channel(up.endpoints["connect"]) as channel:
        analyze = channel.unary_unary(
            SERVICE + "AnalyzePlan", request_serializer=bytes, response_deserializer=bytes)
        up.wait_warm()
        nobody = analyze(spark_version, timeout=120)
        up.wait_warm()
        named = analyze(spark_version + field(2, field(1, b"named")), timeout=120)
    assert nobody and named and nobody != named
    owners = {row["owner"]: row["id"] for row in up.ask("sessions") if row["client_id"] == session_id.decode()}
    assert set(owners) == {"", "named"}
    for session in owners.values():
        up.run("close", session)


def test_i8_calls_over_the_limit_are_asked_to_come_again(tmp_path):
    """One call is all that this broker takes: a watch is it."""
    up = Up(tmp_path, "--warm", "0", "--set", "broker.max-calls=1")
    try:
        with grpc.insecure_channel(up.endpoints["connect"]) as channel:
            watch = channel.unary_stream("/berth.v1.Berth/WatchEvents", request_serializer=bytes)(b"")
            watch.initial_metadata()
            code, text = call(up, SERVICE + "AnalyzePlan", b"")
            assert code == grpc.StatusCode.UNAVAILABLE and "broker.max-calls" in text, (code, text)
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(f"http://{up.endpoints['livy']}/sessions", timeout=10)
            assert refused.value.code == 503
            watch.cancel()

        def is_served():
            try:
                return up.ask("sessions") == []
            except subprocess.CalledProcessError:
                return False

        wait_until(is_served, 30, "the limit holds after the watch has ended")
    finally:
        up.stop()
