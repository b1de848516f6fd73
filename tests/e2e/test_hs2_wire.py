"""How clients of HiveServer2 log in and call. Cases: spec of HiveServer2's Thrift protocol, section 10."""

import contextlib
import gzip
import http.client
import io
import struct
import threading
import urllib.error
import urllib.request
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from berth_up import wait_until
from hive_probe import ERROR, SUCCESS, Probe, basic, plain_socket, sasl_login, ttypes
from TCLIService import TCLIService
from thrift.protocol.TBinaryProtocol import TBinaryProtocol
from thrift.Thrift import TApplicationException, TMessageType, TType
from thrift.transport.TTransport import TMemoryBuffer, TTransportBase

pytestmark = pytest.mark.usefixtures("together")
SLOW = "select count(*) as n from range(1000000000000) where hash(id) = 7"


def test_connections_that_say_nothing_cost_nothing(up):
    """hs2#1: each is taken, and let go; the next login is served"""
    connections = 'berth_connections{listener="hs2"}'
    before = up.metric(connections)
    for _ in range(10):
        held = [plain_socket(up.endpoints["hs2"]) for _ in range(100)]
        wait_until(lambda: up.metric(connections) == before + 100, 30, "they are not taken")
        for sock in held:
            sock.close()
    wait_until(lambda: up.metric(connections) == before, 30, "connections stay")
    sock = plain_socket(up.endpoints["hs2"])
    assert sasl_login(sock) == (5, "")
    sock.close()


def test_logins(up):
    """hs2#2, #4: the response as OK or COMPLETE, other mechanisms, a frame over the limit"""
    for status in (2, 5):
        sock = plain_socket(up.endpoints["hs2"])
        assert sasl_login(sock, status=status) == (5, "")
        sock.close()
    sock = plain_socket(up.endpoints["hs2"])
    code, text = sasl_login(sock, mechanism=b"GSSAPI")
    assert code == 3 and "use PLAIN" in text and sock.recv(1) == b""
    sock = plain_socket(up.endpoints["hs2"])
    assert sasl_login(sock) == (5, "")
    sock.sendall(struct.pack(">I", 101 << 20))
    assert sock.recv(1) == b""


def test_garbage_is_answered_or_closed_and_others_go_on(up, probe):
    """hs2#4: bytes that are no Thrift, and a login that breaks off"""
    for garbage in (b"\x80\x02garbage garbage garbage", b"\x00\x00\xff\xff", b"\x01\x7f\xff\xff\xff", b"\xff" * 64):
        sock = plain_socket(up.endpoints["hs2"])
        sock.sendall(garbage)
        # The server may have closed already.
        with contextlib.suppress(OSError):
            sock.shutdown(1)
            sock.recv(100)
        sock.close()
    silent = plain_socket(up.endpoints["hs2"])
    silent.sendall(b"\x01\x00\x00")
    assert silent.recv(1) == b"", "half a login is given up"
    assert probe.value("select 1") == 1


def test_who_logs_in_is_who_it_is(up, address, user):
    """hs2#5, #7, #68: not who they would like to be; without SASL the call says it"""
    odd = f"{user} o'n\\il@b\u00e4r"
    logins = (({"user": odd, "authzid": "root"}, "root"), ({"transport": "nosasl"}, odd),
              ({"transport": "http", "headers": basic(odd)}, "root"))
    for login, named in logins:
        probe = Probe(address, **login)
        assert probe.open(username=named).status.statusCode == SUCCESS
        assert probe.value("select 1") == 1
        schemas = probe.GetSchemas(ttypes.TGetSchemasReq(probe.session, schemaName="default")).operationHandle
        assert probe.rows(schemas) == [["default", "spark_catalog"]]
        assert [s["dialect"] for s in up.ask("sessions") if s["owner"] == odd and s["state"] == "active"] == ["hs2"]
        probe.close_session()
        probe.leave()


def test_old_heads_and_unknown_methods(address, user):
    """hs2#8, #12: the connection goes on"""
    probe = Probe(address, "nosasl", strict=False)
    assert probe.open(username=user).status.statusCode == SUCCESS
    probe._oprot.writeMessageBegin("GetLog", 1, 4711)
    ttypes.TCloseSessionReq(probe.session).write(probe._oprot)
    probe._oprot.writeMessageEnd()
    probe._oprot.trans.flush()
    name, kind, sequence = probe._iprot.readMessageBegin()
    error = TApplicationException()
    error.read(probe._iprot)
    probe._iprot.readMessageEnd()
    # The struct of the request was not wrapped in one of arguments, which the server must not mind either.
    assert (name, kind, sequence) == ("GetLog", 3, 4711) and error.type == 1
    assert probe.value("select 1") == 1
    probe.leave()


class Newer(TBinaryProtocol):
    """A client of a later version: every struct that it sends has fields that nobody knows yet."""

    def writeFieldStop(self):
        self.writeFieldBegin("", TType.STRING, 901)
        self.writeString("new")
        self.writeFieldBegin("", TType.LIST, 902)
        self.writeListBegin(TType.STRUCT, 1)
        super().writeFieldStop()
        self.writeFieldBegin("", TType.MAP, 903)
        self.writeMapBegin(TType.STRING, TType.I64, 1)
        self.writeString("new")
        self.writeI64(1)
        super().writeFieldStop()


def test_what_nobody_knows_is_skipped(address, user):
    """hs2#13"""
    probe = Probe(address, user=user)
    probe._oprot = Newer(probe.transport)
    assert probe.open(conf={"y": "2"}).status.statusCode == SUCCESS
    assert probe.info(17).infoValue.stringValue == "Spark SQL"
    operation = probe.execute("select ${y} as n", asynchronous=True, overlay={"x": "1"}).operationHandle
    assert probe.wait(operation).operationState == 2
    assert probe.columns(operation) == [("n", 3)] and probe.rows(operation) == [[2]]
    tables = probe.GetTables(ttypes.TGetTablesReq(probe.session, schemaName="default", tableTypes=["VIEW"]))
    assert tables.status.statusCode == SUCCESS
    assert probe.cancel(operation).statusCode == SUCCESS
    assert probe.close_operation(operation).statusCode == SUCCESS
    assert probe.close_session().statusCode == SUCCESS
    probe.leave()


SESSION_CALLS = """CloseSession SetClientInfo GetInfo ExecuteStatement GetTypeInfo GetCatalogs GetSchemas GetTables
    GetTableTypes GetColumns GetFunctions GetPrimaryKeys GetCrossReference GetDelegationToken CancelDelegationToken
    RenewDelegationToken""".split()
OPERATION_CALLS = "GetOperationStatus CancelOperation CloseOperation GetResultSetMetadata FetchResults".split()


def test_what_is_missing_is_named(probe):
    """hs2#13: a call without its handle is answered, and the connection goes on"""
    for calls, missing in ((SESSION_CALLS, "SessionHandle"), (OPERATION_CALLS, "OperationHandle")):
        for method in calls:
            kind, answer = probe.raw(method)
            status = answer[0][1]
            assert (kind, status[1]) == (TMessageType.REPLY, ERROR), method
            assert f"Invalid {missing}" in status[5], (method, status)
    assert probe.raw("GetQueryId") == (TMessageType.REPLY, {0: {1: ""}}), "it has no status"
    _, answer = probe.raw("ExecuteStatement", probe.session)
    assert answer[0][1][1] == ERROR and "no statement" in answer[0][1][5]
    assert probe.value("select 1") == 1


def test_every_version_is_agreed_on(address, user):
    """hs2#14, #15, #31: columns from V6, rows before"""
    for version in (*range(11), 42_240):
        probe = Probe(address, user=user)
        opened = probe.open(version)
        assert opened.serverProtocolVersion == min(version, 10)
        assert opened.configuration["hive.server2.thrift.resultset.default.fetch.size"] == "1000"
        fetched = probe.fetch(probe.run("select 1, 'a', cast(null as int)")).results
        assert (fetched.columns is None) == (version < 5)
        assert probe.rows(probe.run("select 1, 'a', cast(null as int), 1.5d")) == [[1, "a", None, 1.5]]
        probe.close_session()
        probe.leave()


class Zipped(TTransportBase):
    """One call a request, as Java's clients send them: compressed, and glad of compressed answers."""

    def __init__(self, address, user):
        self.url, self.data = f"http://{address}/cliservice", b""
        self.headers = {**basic(user), "Content-Encoding": "gzip", "Accept-Encoding": "gzip"}
        self.zipped = 0

    def write(self, data):
        self.data += data

    def flush(self):
        data, self.data = self.data, b""
        request = urllib.request.Request(self.url, gzip.compress(data), self.headers)
        with urllib.request.urlopen(request, timeout=120) as answer:
            text = answer.read()
            if answer.headers["Content-Encoding"] == "gzip":
                text, self.zipped = gzip.decompress(text), self.zipped + 1
        self.answer = io.BytesIO(text)

    def read(self, size):
        return self.answer.read(size)


def test_bodies_may_be_compressed(up, user):
    """Both ways over HTTP; small answers are sent as they are, and the limit is that of what comes out."""
    zipped = Zipped(up.endpoints["hs2-http"], user)
    probe = Probe(up.endpoints["hs2-http"], "http")
    probe._iprot = probe._oprot = TBinaryProtocol(zipped)
    assert probe.open().status.statusCode == SUCCESS
    operation = probe.run("select id from range(5000)")
    assert zipped.zipped == 0
    assert [number for (number,) in probe.rows(operation, rows=5000)] == list(range(5000))
    assert zipped.zipped == 1
    with pytest.raises(urllib.error.HTTPError) as raised:
        probe.execute(" " * (101 << 20))
    assert raised.value.code == 413
    assert probe.close_session().statusCode == SUCCESS


def test_what_is_no_call_over_http(up):
    """hs2#9"""
    for door in ("hs2", "hs2-http"):
        for method, path, status in (("GET", "/cliservice", 405), ("POST", "/other", 404), ("POST", "/cliservice", 400)):
            connection = http.client.HTTPConnection(up.endpoints[door], timeout=30)
            connection.request(method, path, body=b"nonsense" if method == "POST" else None)
            assert connection.getresponse().status == status
            connection.close()


def test_two_calls_at_once_on_one_connection_are_answered_in_order(address, user):
    """hs2#6"""
    probe = Probe(address, "nosasl")
    probe.open(username=user)
    for number in (13, 18):
        probe.send_GetInfo(ttypes.TGetInfoReq(probe.session, number))
    assert [probe.recv_GetInfo().infoValue.stringValue for _ in range(2)] == ["Spark SQL", "4.3.0"]
    probe.leave()


def test_frames_are_cut_anywhere(probe):
    """hs2#6: one call in three frames, two calls in one, and one that begins in the frame of another"""
    def call(number):
        buffer = TMemoryBuffer()
        TCLIService.Client(TBinaryProtocol(buffer)).send_GetInfo(ttypes.TGetInfoReq(probe.session, number))
        return buffer.getvalue()

    def answers(*frames):
        for frame in frames:
            probe.transport.raw.write(struct.pack(">I", len(frame)) + frame)
        return [probe.recv_GetInfo().infoValue.stringValue for _ in range(sum(map(len, frames)) // len(call(13)))]

    name, version = call(13), call(18)
    assert answers(name[:3], name[3:40], name[40:]) == ["Spark SQL"]
    assert answers(name + version) == ["Spark SQL", "4.3.0"]
    assert answers(name + version[:9], version[9:] + name) == ["Spark SQL", "4.3.0", "Spark SQL"]


def test_threads_on_one_connection(probe):
    """hs2#63: they run, read logs and cancel in turns, as JDBC's drivers do; no answer is somebody else's"""
    turn = threading.Lock()

    def call(method, *arguments, **how):
        with turn:
            return method(*arguments, **how)

    def begin(statement):
        return call(probe.execute, statement, asynchronous=True).operationHandle

    def settled(operation):
        while (state := call(probe.status, operation).operationState) in (0, 7, 1):
            own = str(uuid.UUID(bytes=operation.operationId.guid))
            changes = [line for (line,) in call(probe.rows, operation, kind=1) if "->" in line]
            assert all(own in line for line in changes), changes
        return state

    def run(number):
        for turns in range(10):
            operation = begin(f"select {number}, {turns} from range(1)")
            assert settled(operation) == 2
            assert call(probe.rows, operation) == [[number, turns]]

    def cancel():
        for _ in range(2):
            operation = begin(SLOW)
            while call(probe.status, operation).operationState != 1:
                pass
            assert call(probe.cancel, operation).statusCode == SUCCESS
            assert settled(operation) == 3

    with ThreadPoolExecutor() as threads:
        for done in [threads.submit(cancel), *(threads.submit(run, number) for number in range(3))]:
            done.result()
