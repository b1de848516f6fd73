"""Any replica serves any call: one client at two brokers, brokers that are exchanged, and a broker lost with a driver."""

import os
import signal
import threading

import grpc
import pytest
from berth_up import wait_until
from pyspark.sql.connect.proto import base_pb2 as pb
from wire import Wire, error_of, rows_of

QUERY = "select id, rpad('', 20, cast(id as string)) as pad from range(0, 100000, 1, 20)"


@pytest.fixture
def both(cluster, spark, user):
    """The session at each of the two brokers."""
    addresses = [f"{host}:{port}" for host, port in cluster.addresses("Spark Connect")]
    wires = [Wire(address, user, spark.session_id) for address in addresses]
    assert len(wires) == 2
    yield wires
    for wire in wires:
        wire.close()


def test_i4_a_client_goes_from_one_broker_to_the_other(cluster, spark, both):
    """connect#3, connect#31, connect#38, connect#83: a result, an error's details and the end of the session"""
    one, two = both
    whole = list(two.execute(two.plan(QUERY)))
    request = one.plan(QUERY)
    stream = one.execute(request)
    got = [next(stream) for _ in range(len(whole) // 2)]
    stream.cancel()
    rest = list(two.reattach(request.operation_id, got[-1].response_id))
    assert rows_of(got + rest) == rows_of(whole)
    assert {each.server_side_session_id for each in got + rest + whole} == {got[0].server_side_session_id}
    with pytest.raises(grpc.RpcError) as raised:
        list(one.execute(one.plan("select 1 / (id - id) from range(3)")))
    _, error_id = error_of(raised)
    answer = two.stub.FetchErrorDetails(pb.FetchErrorDetailsRequest(error_id=error_id, **two.who))
    assert "DIVIDE_BY_ZERO" in [error.spark_throwable.error_class for error in answer.errors]
    one.stub.ReleaseSession(pb.ReleaseSessionRequest(**one.who))
    with pytest.raises(grpc.RpcError) as raised:
        list(two.execute(two.plan("select 1")))
    assert error_of(raised)[0] == "INVALID_HANDLE.SESSION_CLOSED"


def test_brokers_are_exchanged_under_load_and_no_call_fails(cluster, spark, user):
    """connect#78: each broker is told to end and started again, one after the other"""
    done, failed, over = [], [], threading.Event()

    def work():
        while not over.is_set():
            try:
                assert spark.range(1000).selectExpr("sum(id)").first()[0] == 499_500
                done.append(1)
            except Exception as error:  # noqa: BLE001 - whatever a client sees is a failed call
                failed.append(error)

    worker = threading.Thread(target=work)
    worker.start()
    for broker in cluster.brokers:
        before = len(done)
        wait_until(lambda: len(done) > before + 3, 60, "the client gets no answers")
        broker.signal(signal.SIGTERM)
        broker.process.wait(timeout=60)
        broker.start().wait_for("is up")
    before = len(done)
    wait_until(lambda: len(done) > before + 3, 60, "the client gets no answers")
    over.set()
    worker.join(timeout=60)
    assert not failed
    assert cluster.session(user)["epoch"] == 1


def test_i2_a_driver_and_a_broker_die_together(cluster, spark, user):
    """connect#77"""
    (driver,) = [row for row in cluster.ask("drivers") if row["id"] == cluster.session(user)["driver"]]
    victim = cluster.brokers[0]
    os.kill(driver["jvm_pid"], signal.SIGKILL)
    victim.kill()
    try:
        assert spark.conf.get("berth.test") == user
        assert spark.table("v").count() == 100
        assert cluster.session(user)["epoch"] == 2
    finally:
        victim.start().wait_for("is up")
        wait_until(lambda: len(cluster.ask("brokers")) == 2, 30, "the dead broker's record stays")
