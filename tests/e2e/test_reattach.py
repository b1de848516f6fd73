"""The reattach protocol on a real driver: a result is continued, never lost and never doubled."""

import itertools
import uuid

import grpc
import pytest
from wire import Wire, error_of, rows_of

# Thirty batches, so that there is a middle; less in all than the 10 MiB that are kept for a client that comes back.
QUERY = "select id, rpad('', 20, cast(id as string)) as pad from range(0, 150000, 1, 30)"


@pytest.fixture
def wire(up, kept):
    made = Wire(up.endpoints["connect"], "kept", kept.session_id)
    yield made
    made.close()


@pytest.fixture(scope="module")
def whole(up, kept):
    """The responses of an undisturbed run."""
    made = Wire(up.endpoints["connect"], "kept", kept.session_id)
    responses = list(made.execute(made.plan(QUERY)))
    made.close()
    assert responses[-1].HasField("result_complete") and len(rows_of(responses)) >= 30
    return responses


@pytest.mark.parametrize("seen", ["none", "first", "middle", "last"])
def test_a_cut_stream_goes_on_after_what_was_seen(wire, whole, seen):
    """connect#22, connect#24: the client names the last response that it has"""
    request = wire.plan(QUERY)
    stream = wire.execute(request)
    count = {"none": 1, "first": 1, "middle": len(whole) // 2, "last": None}[seen]
    got = list(itertools.islice(stream, count))
    stream.cancel()
    if seen == "none":
        got = []
    rest = list(wire.reattach(request.operation_id, got[-1].response_id if got else None))
    assert rows_of(got + rest) == rows_of(whole)
    complete = [each for each in got + rest if each.HasField("result_complete")]
    assert len(complete) == 1
    wire.release(request.operation_id)


def test_a_deadline_of_the_clients_own_does_not_end_the_query(wire):
    """connect#33: the deadline of one stream, not of the operation"""
    request = wire.plan("select sum(hash(id)) as n from range(300000000)")
    with pytest.raises(grpc.RpcError) as raised:
        list(wire.execute(request, timeout=0.3))
    assert raised.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    rest = list(wire.reattach(request.operation_id, timeout=120))
    assert sum(each.arrow_batch.row_count for each in rest) == 1 and rest[-1].HasField("result_complete")


def test_positions_that_are_unknown_or_released(wire, whole):
    """connect#25"""
    request = wire.plan(QUERY)
    got = list(wire.execute(request))
    with pytest.raises(grpc.RpcError) as raised:
        list(wire.reattach(request.operation_id, str(uuid.uuid4())))
    assert error_of(raised)[0] == "INVALID_CURSOR.POSITION_NOT_FOUND"
    middle = len(got) // 2
    wire.release(request.operation_id, got[middle].response_id)
    with pytest.raises(grpc.RpcError) as raised:
        list(wire.reattach(request.operation_id, got[1].response_id))
    assert error_of(raised)[0] == "INVALID_CURSOR.POSITION_NOT_AVAILABLE"
    assert rows_of(got[:middle + 1] + list(wire.reattach(request.operation_id, got[middle].response_id))) == rows_of(whole)
    wire.release(request.operation_id)
    with pytest.raises(grpc.RpcError) as raised:
        list(wire.reattach(request.operation_id, got[-1].response_id))
    assert error_of(raised)[0].startswith("INVALID_HANDLE.OPERATION_")


def test_a_second_reader_takes_the_result_over(wire, whole):
    """connect#26"""
    request = wire.plan(QUERY)
    first = wire.execute(request)
    got = [next(first)]
    second = list(wire.reattach(request.operation_id, got[0].response_id))
    assert rows_of(got + second) == rows_of(whole)
    with pytest.raises(grpc.RpcError) as raised:
        list(first)
    assert error_of(raised)[0] == "INVALID_CURSOR.DISCONNECTED"
    wire.release(request.operation_id)


def test_an_operation_id_belongs_to_one_plan(wire, whole):
    """connect#27: the same plan again goes on with it, as a client does whose first call was lost"""
    request = wire.plan(QUERY)
    stream = wire.execute(request)
    next(stream)
    assert rows_of(list(wire.execute(request))) == rows_of(whole)
    stream.cancel()
    with pytest.raises(grpc.RpcError) as raised:
        list(wire.execute(wire.plan("select 2", request.operation_id)))
    assert error_of(raised)[0] == "INVALID_HANDLE.OPERATION_ALREADY_EXISTS"
    wire.release(request.operation_id)


def test_releases_are_answered_whatever_they_name(wire, whole):
    """connect#28, connect#30: until a response, all, twice, of nothing; no deadline is made up"""
    request = wire.plan(QUERY)
    got = list(wire.execute(request))
    operation = request.operation_id
    assert wire.release(operation, got[0].response_id).session_id == wire.session_id
    assert wire.release(operation, got[0].response_id).session_id == wire.session_id
    assert wire.release(operation).session_id == wire.session_id
    assert wire.release(operation).session_id == wire.session_id
    assert wire.release(str(uuid.uuid4())).session_id == wire.session_id


def test_results_without_reattach(wire, whole):
    """connect#21: as clients before 3.5 ask for them; nothing marks the end"""
    got = list(wire.execute(wire.plan(QUERY, reattachable=False)))
    assert rows_of(got) == rows_of(whole)
    assert not any(each.HasField("result_complete") for each in got)
