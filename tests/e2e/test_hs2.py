"""HiveServer2's Thrift protocol. Cases: spec of HiveServer2's Thrift protocol, section 10."""

import base64
import contextlib
import gzip
import http.client
import io
import math
import struct
import threading
import time
import urllib.error
import urllib.request
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from berth_up import wait_until
from hive_probe import ERROR, SUCCESS, Probe, plain_socket, sasl_login, ttypes
from TCLIService import TCLIService
from thrift.protocol.TBinaryProtocol import TBinaryProtocol
from thrift.Thrift import TApplicationException, TMessageType, TType
from thrift.transport.TTransport import TMemoryBuffer, TTransportBase, TTransportException

pytestmark = pytest.mark.usefixtures("together")
SLOW = "select count(*) as n from range(1000000000000) where hash(id) = 7"
# How long a question about a running operation waits, in seconds: broker.sql.poll-seconds.
POLL = 1


@pytest.fixture
def address(up):
    return up.endpoints["hs2"]


@pytest.fixture
def probe(address, user):
    made = Probe(address, user=user)
    assert made.open().status.statusCode == SUCCESS
    yield made
    made.leave()


def basic(user):
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:x".encode()).decode()}


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
    assert (name, kind, sequence) == ("GetLog", 3, 4711) and error.type in (1, 7)
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


def test_confs_of_a_session(address, user):
    """hs2#16, #17, #18, #19"""
    probe = Probe(address, user=user)
    probe.open(conf={"set:hiveconf:spark.sql.shuffle.partitions": "7", "set:hivevar:x": "1", "y": "2"})
    assert probe.rows(probe.run("set spark.sql.shuffle.partitions")) == [["spark.sql.shuffle.partitions", "7"]]
    assert probe.rows(probe.run("select ${x}, ${hivevar:y}")) == [[1, 2]]
    probe.close_session()
    ignored = {"set:hiveconf:spark.executor.memory": "3g", "kyuubi.no.such.key": "1"}
    assert probe.open(conf=ignored).status.statusCode == SUCCESS
    operation = probe.run("set spark.executor.memory")
    assert probe.rows(operation)[0][1] != "3g"
    log = [line for (line,) in probe.rows(operation, kind=1)]
    for key in ("spark.executor.memory", "kyuubi.no.such.key"):
        assert any("WARN" in line and key in line for line in log), log
    probe.close_session()
    refused = [({"set:env:X": "1"}, "variable X"), ({"spark.plugins": "x"}, "spark.plugins")]
    for conf, text in refused:
        opened = probe.open(conf=conf)
        assert opened.status.statusCode == ERROR and text in opened.status.errorMessage, opened
        assert opened.sessionHandle is None and opened.status.infoMessages is None
    opened = probe.open(conf={"use:database": "nowhere_at_all"})
    if opened.status.statusCode == SUCCESS:
        # The driver was not there soon enough to tell at once.
        opened = probe.execute("select 1")
    assert opened.status.statusCode == ERROR and "nowhere_at_all" in opened.status.errorMessage
    opened = probe.open(conf={"hive.server2.proxy.user": f"{user}-other"})
    assert opened.status.statusCode == SUCCESS, "where nobody is asked, everybody may be anybody"
    probe.close_session()
    probe.leave()


def test_what_the_server_says_of_itself(probe):
    """hs2#20, #52"""
    assert [probe.info(number).infoValue.stringValue for number in (13, 17, 18)] == ["Spark SQL", "Spark SQL", "4.3.0"]
    assert probe.info(35).infoValue.lenValue == 128
    unknown = probe.info(9999)
    assert unknown.status.statusCode == ERROR and unknown.infoValue.lenValue == 0
    kind, answer = probe.raw("SetClientInfo", probe.session, {"ApplicationName": "tests"})
    assert (kind, answer) == (TMessageType.REPLY, {0: {1: {1: SUCCESS}}})
    operation = probe.run("select 1")
    kind, answer = probe.raw("GetQueryId", operation)
    assert kind == TMessageType.REPLY and uuid.UUID(answer[0][1])


def test_what_is_not_there_is_refused_by_name(probe):
    """hs2#51: delegation tokens with a status, uploads with an exception; the connection goes on"""
    for answer in (
        probe.GetDelegationToken(ttypes.TGetDelegationTokenReq(probe.session, "a", "b")),
        probe.CancelDelegationToken(ttypes.TCancelDelegationTokenReq(probe.session, "a")),
        probe.RenewDelegationToken(ttypes.TRenewDelegationTokenReq(probe.session, "a")),
    ):
        assert answer.status.statusCode == ERROR and "not supported" in answer.status.errorMessage
    for method, values in (("UploadData", ("t", "/x", b"\x00")), ("DownloadData", ("t", "select 1", "csv"))):
        kind, answer = probe.raw(method, probe.session, *values)
        assert kind == TMessageType.EXCEPTION and method in answer[1]
    assert probe.value("select 1") == 1


def test_statements_at_once_and_later(probe):
    """hs2#21, #22, #23, #24, #25, #53"""
    operation = probe.run("select 1")
    assert operation.hasResultSet and probe.status(operation).operationState == 2
    failed = probe.execute("selec 1")
    assert failed.status.statusCode == ERROR and failed.status.sqlState == "42601"
    assert "selec" in failed.status.errorMessage and failed.status.infoMessages is None
    later = probe.execute("select sum(hash(id)) as n from range(1000)", asynchronous=True).operationHandle
    status = probe.wait(later)
    assert status.operationState == 2 and status.hasResultSet
    assert status.operationStarted <= status.operationCompleted
    assert len(probe.rows(later)) == 1
    lost = probe.execute("select raise_error('no')", asynchronous=True).operationHandle
    status = probe.wait(lost)
    assert status.operationState == 5 and "no" in status.errorMessage and status.sqlState


def test_a_statement_that_runs(probe):
    """hs2#23, #24, #25: one that never ends has its handle at once, is asked about, and has no rows"""
    operation = probe.execute(SLOW, asynchronous=True).operationHandle
    states = []

    def runs():
        states.append(probe.status(operation).operationState)
        return states[-1] == 1

    wait_until(runs, 60, f"it does not run: {states}")
    assert set(states) <= {7, 1}, "pending, then running"
    begun = time.monotonic()
    for _ in range(2):
        assert probe.status(operation).operationState == 1
    assert time.monotonic() - begun > 1.8 * POLL, "a client without a pause of its own would ask all the time"
    early = probe.fetch(operation)
    assert early.status.statusCode == ERROR and "Expected state FINISHED" in early.status.errorMessage
    assert probe.status(operation).operationState == 1
    assert probe.close_operation(operation).statusCode == SUCCESS
    assert probe.value("select count(*) from range(0, 1000, 1, 8)") == 1000


def test_pages(probe):
    """hs2#26, #27, #28"""
    operation = probe.run("select id from range(0, 2500, 1, 3)")
    sizes = []
    for _ in range(4):
        fetched = probe.fetch(operation)
        size = len(fetched.results.columns[0].i64Val.values)
        assert size or not fetched.hasMoreRows
        sizes.append(size)
    assert sizes == [1000, 1000, 500, 0]
    assert [row[0] for row in probe.rows(operation, orientation=4)] == list(range(1000))
    assert probe.rows(operation)[0] == [1000]
    assert probe.rows(operation, orientation=1)[0] == [0]
    assert probe.fetch(operation, orientation=3).status.sqlState == "0A000"


def test_nothing_is_told_as_nothing(probe):
    """hs2#29, #30"""
    empty = probe.run("select id, 'x' as t from range(0)")
    assert [name for name, _ in probe.columns(empty)] == ["id", "t"]
    assert len(probe.fetch(empty).results.columns) == 2 and probe.rows(empty) == []
    done = probe.run("create temporary view nothing as select 1")
    assert probe.columns(done) == [("Result", 7)] and probe.rows(done) == []


def test_a_write_runs_once(probe, user):
    """hs2#30"""
    probe.run(f"create table {user}_t (n int) using parquet")
    for _ in range(3):
        probe.run(f"insert into {user}_t select 1")
    assert probe.value(f"select count(*) from {user}_t") == 3
    probe.run(f"drop table {user}_t")


TYPES = [
    ("true", 0, True), ("-128Y", 1, -128), ("32767S", 2, 32767), ("-2147483648", 3, -2147483648),
    ("9223372036854775807L", 4, 9223372036854775807), ("cast(1.2 as float)", 5, 1.2), ("-1.5d", 6, -1.5),
    ("double('Infinity')", 6, float("inf")), ("'gr\u00fc\u00df \U0001F600'", 7, "gr\u00fc\u00df \U0001F600"),
    ("timestamp'2018-11-17 13:33:33.123400'", 8, "2018-11-17 13:33:33.1234"),
    ("timestamp_ntz'1899-12-31 23:59:59'", 8, "1899-12-31 23:59:59"), ("X'00FF'", 9, b"\x00\xff"),
    ("cast('1.50' as decimal(38,18))", 15, "1.500000000000000000"), ("-0.05BD", 15, "-0.05"),
    ("date'1582-10-15'", 17, "1582-10-15"), ("interval '1-2' year to month", 20, "1-2"),
    ("interval '1 02:03:04' day to second", 21, "1 02:03:04.000000000"),
    ("make_interval(1, 2, 0, 3, 4)", 7, "1 years 2 months 3 days 4 hours"),
    ("array(1, null)", 10, "[1,null]"), ("array('x')", 10, '["x"]'), ("map(1, 2)", 11, "{1:2}"),
    ("map('k', cast(null as int))", 11, '{"k":null}'), ("named_struct('a', 1, 'b', null)", 12, '{"a":1,"b":null}'),
    ("array(named_struct('d', date'2000-02-29', 'm', map('k', 1.5d)))", 10, '[{"d":2000-02-29,"m":{"k":1.5}}]'),
    ("null", 16, None), ("cast('ab' as char(3))", 7, "ab"), ("parse_json('[1]')", None, None),
]


def test_every_type_in_rows(address, user):
    """hs2#31, #35: as clients before V6 read them; what is binary is no text there"""
    shown = [(sql, value) for sql, number, value in TYPES if number not in (None, 9)]
    probe = Probe(address, user=user)
    assert probe.open(0).status.statusCode == SUCCESS
    probe.run("set spark.sql.session.timeZone=Asia/Tokyo")
    operation = probe.run("select " + ", ".join(f"{sql} as c{at}" for at, (sql, _) in enumerate(shown)))
    assert probe.rows(operation) == [[value for _, value in shown]]
    probe.close_session()
    probe.leave()


def test_every_type(probe):
    """hs2#31, #33, #34, #35, #36, #37"""
    shown = [each for each in TYPES if each[1] is not None]
    probe.run("set spark.sql.session.timeZone=Asia/Tokyo")
    operation = probe.run("select " + ", ".join(f"{sql} as c{at}" for at, (sql, _, _) in enumerate(shown)))
    assert [number for _, number in probe.columns(operation)] == [number for _, number, _ in shown]
    (row,) = probe.rows(operation)
    assert row == [value for _, _, value in shown]
    schema = probe.GetResultSetMetadata(ttypes.TGetResultSetMetadataReq(operation)).schema
    (decimal,) = [c for c, (sql, _, _) in zip(schema.columns, shown) if "decimal" in sql]
    qualifiers = decimal.typeDesc.types[0].primitiveEntry.typeQualifiers.qualifiers
    assert {key: value.i32Value for key, value in qualifiers.items()} == {"precision": 38, "scale": 18}
    (row,) = probe.rows(probe.run("select double('NaN'), cast('NaN' as float), double('-Infinity'), -0.0d"))
    assert [math.isnan(value) for value in row] == [True, True, False, False]
    assert row[2] == -math.inf and math.copysign(1, row[3]) == -1
    named = probe.run("select 1 as `\U0001F600 gr\u00fc\u00df`, 2 as `a``b`")
    assert probe.columns(named) == [("\U0001F600 gr\u00fc\u00df", 3), ("a`b", 3)]


def test_nulls_at_every_edge(probe):
    """hs2#32"""
    for count in (1, 7, 8, 9, 64, 65):
        operation = probe.run(f"select if(id = {count - 1}, null, id), if(id = 0, null, 'x') from range(0, {count}, 1, 1)")
        rows = probe.rows(operation)
        assert [n for n, _ in rows] == [*range(count - 1), None]
        assert [t for _, t in rows] == [None, *["x"] * (count - 1)]


def test_large_statements(probe, address, user):
    """hs2#38: taken, or over the limit and refused; then others go on"""
    assert probe.value(f"select length('{'x' * 10_000_000}')") == 10_000_000
    large = Probe(address, user=user)
    assert large.open().status.statusCode == SUCCESS
    with pytest.raises((OSError, EOFError, TTransportException)):
        large.execute(" " * (101 << 20))
    large.leave()
    assert probe.value("select 1") == 1


def test_logs_are_read_apart_from_rows(probe):
    """hs2#39"""
    operation = probe.run("select sum(id) from range(0, 1000000, 1, 4)")
    lines = []

    def told_whole():
        lines.extend(line for (line,) in probe.rows(operation, kind=1))
        return any("rows are here" in line for line in lines)

    # A statement is finished with its first rows; the line that ends its log may come a moment later.
    wait_until(told_whole, 60, f"the log does not end: {lines}")
    assert any("PENDING -> RUNNING" in line for line in lines), lines
    assert probe.rows(operation, kind=1) == []
    assert [line for (line,) in probe.rows(operation, kind=1, orientation=4)] == lines
    assert len(probe.rows(operation)) == 1


def test_cancel_from_another_connection(up, address, user, probe):
    """hs2#40: at once, and its Spark job is gone"""
    operation = probe.execute(SLOW, asynchronous=True).operationHandle
    wait_until(lambda: probe.status(operation).operationState == 1, 60, "it does not run")
    other = Probe(address, user=user)
    assert other.cancel(operation).statusCode == SUCCESS
    assert probe.status(operation).operationState == 3
    assert other.cancel(operation).statusCode == SUCCESS
    assert "CANCELED" in probe.fetch(operation).status.errorMessage
    # With two cores, what still ran would hold this up for minutes.
    assert probe.value("select count(*) from range(0, 1000, 1, 8)") == 1000
    stranger = Probe(address, user=f"{user}x")
    assert "Invalid OperationHandle" in stranger.cancel(operation).errorMessage
    other.leave()
    stranger.leave()


def test_what_is_closed_is_not_there(probe):
    """hs2#41"""
    operation = probe.run("select 1")
    assert probe.close_operation(operation).statusCode == SUCCESS
    assert probe.close_operation(operation).statusCode == ERROR
    assert "Invalid OperationHandle" in probe.status(operation).status.errorMessage
    left = probe.run("select 1")
    assert probe.close_session().statusCode == SUCCESS
    for answer in (probe.execute("select 1").status, probe.info(17).status, probe.close_session(),
                   probe.GetCatalogs(ttypes.TGetCatalogsReq(probe.session)).status):
        assert answer.statusCode == ERROR and "Invalid SessionHandle" in answer.errorMessage
    schema = probe.GetResultSetMetadata(ttypes.TGetResultSetMetadataReq(left))
    for answer in (probe.status(left).status, probe.fetch(left).status, schema.status, probe.cancel(left)):
        assert answer.statusCode == ERROR and "Invalid OperationHandle" in answer.errorMessage


def test_a_limit_of_time(probe, address, user):
    """hs2#42: TIMEDOUT from V9 on, CANCELED before"""
    newest = Probe(address, user=user)
    assert newest.open(10).status.statusCode == SUCCESS
    for each, state in ((probe, 3), (newest, 8)):
        operation = each.execute(SLOW, asynchronous=True, timeout=1).operationHandle
        assert each.wait(operation).operationState == state
        assert each.value("select 1") == 1
    newest.leave()


def test_sessions_end_with_their_connection_or_not(up, address, user):
    """hs2#43, #44, #9: over HTTP they stay, and any connection goes on"""
    probe = Probe(address, user=user)
    probe.open()
    operation = probe.execute(SLOW, asynchronous=True).operationHandle
    assert operation
    probe.leave()
    wait_until(lambda: not [s for s in up.ask("sessions") if s["owner"] == user and s["state"] != "closed"], 60, "it stays")
    for door, path in (("hs2-http", "/cliservice"), ("hs2", "/cliservice/")):
        first = Probe(up.endpoints[door], "http", headers=basic(user), path=path)
        assert first.open().status.statusCode == SUCCESS
        second = Probe(up.endpoints[door], "http", headers=basic(user), path=path)
        second.session = first.session
        assert second.value("select 1") == 1
        assert second.close_session().statusCode == SUCCESS


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


def test_a_client_that_never_closes_is_bounded(probe):
    """hs2: the oldest operation gives way"""
    first = probe.run("select 0")
    for number in range(200):
        probe.run(f"select {number}")
    assert "Invalid OperationHandle" in probe.status(first).status.errorMessage


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
