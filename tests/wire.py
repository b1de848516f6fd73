"""Spark Connect as it is on the wire: the calls of a client, one by one, with PySpark's own messages."""

import uuid

import grpc
from google.rpc import error_details_pb2, status_pb2
from pyspark.sql.connect.proto import base_pb2 as pb
from pyspark.sql.connect.proto import base_pb2_grpc

# Runs until it is stopped.
ENDLESS = "select count(*) from range(1000000000000) where hash(id) = 7"
SIZE = [("grpc.max_receive_message_length", 128 << 20)]


class Token(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor):
    """Sends a token with each call; gRPC itself does so over TLS only."""

    def __init__(self, token):
        self.header = ("authorization", f"Bearer {token}")

    def _send(self, proceed, details, request):
        details = details._replace(metadata=[*(details.metadata or ()), self.header])
        return proceed(details, request)

    intercept_unary_unary = intercept_unary_stream = _send


class Wire:
    """A client of one session, which may be somebody else's too."""

    def __init__(self, address, user, session_id=None, options=(), token=None):
        self.channel = grpc.insecure_channel(address, options=[*SIZE, *options])
        if token:
            self.channel = grpc.intercept_channel(self.channel, Token(token))
        self.stub = base_pb2_grpc.SparkConnectServiceStub(self.channel)
        self.session_id = session_id or str(uuid.uuid4())
        self.who = {"session_id": self.session_id, "user_context": pb.UserContext(user_id=user)}

    def plan(self, sql, operation=None, reattachable=True):
        request = pb.ExecutePlanRequest(operation_id=operation or str(uuid.uuid4()), **self.who)
        request.plan.root.sql.query = sql
        option = request.request_options.add()
        option.reattach_options.reattachable = reattachable
        return request

    def execute(self, request, **call):
        return self.stub.ExecutePlan(request, **call)

    def reattach(self, operation, last=None, **call):
        request = pb.ReattachExecuteRequest(operation_id=operation, **self.who)
        if last:
            request.last_response_id = last
        return self.stub.ReattachExecute(request, **call)

    def release(self, operation, until=None):
        request = pb.ReleaseExecuteRequest(operation_id=operation, **self.who)
        if until:
            request.release_until.response_id = until
        else:
            request.release_all.SetInParent()
        return self.stub.ReleaseExecute(request)

    def config(self, key, **call):
        request = pb.ConfigRequest(**self.who)
        request.operation.get.keys.append(key)
        return self.stub.Config(request, **call).pairs[0].value

    def states(self, *operations):
        """How these operations of the session stand, or all that are known with none: names by id."""
        asked = pb.GetStatusRequest(**self.who)
        asked.operation_status.operation_ids.extend(operations)
        asked.operation_status.SetInParent()
        name = pb.GetStatusResponse.OperationStatus.OperationState.Name
        told = self.stub.GetStatus(asked).operation_statuses
        return {status.operation_id: name(status.state).removeprefix("OPERATION_STATE_") for status in told}

    def running(self, operation):
        return self.states(operation) == {operation: "RUNNING"}

    def any_running(self):
        return "RUNNING" in self.states().values()

    def end(self):
        """Ends the session."""
        return self.stub.ReleaseSession(pb.ReleaseSessionRequest(**self.who))

    def close(self):
        self.channel.close()


def rows_of(responses):
    """Where each Arrow batch starts, and its bytes, in order."""
    return [(each.arrow_batch.start_offset, each.arrow_batch.data) for each in responses if each.HasField("arrow_batch")]


def error_of(raised):
    """The error class that a status carries, and the id under which its details are asked for."""
    packed = dict(raised.value.trailing_metadata() or ()).get("grpc-status-details-bin")
    status = status_pb2.Status.FromString(packed or b"")
    for detail in status.details:
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            return info.metadata.get("errorClass"), info.metadata.get("errorId")
    return None, None
