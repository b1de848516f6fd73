"""Sessions and statements of HiveServer2's Thrift protocol. Cases: spec of that protocol, section 10."""

import math
import time
import uuid

import pytest
from berth_up import wait_until
from hive_probe import ERROR, SUCCESS, Probe, basic, ttypes
from thrift.Thrift import TMessageType
from thrift.transport.TTransport import TTransportException

pytestmark = pytest.mark.usefixtures("together")
SLOW = "select count(*) as n from range(1000000000000) where hash(id) = 7"
# How long a question about a running operation waits, in seconds: broker.sql.poll-seconds.
POLL = 1


def test_confs_of_a_session(up, address, user):
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
    assert up.session(owner=f"{user}-other")["state"] != "closed"
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
    waited = time.monotonic() - begun
    assert waited < 20 * POLL, "each answers after its poll, whether it has ended or not"
    assert waited > 1.8 * POLL, "a client without a pause of its own would ask all the time"
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
    """hs2#31, #35: as clients before V6 read them, to whom what is binary is text"""
    shown = [*((sql, value) for sql, number, value in TYPES if number not in (None, 9)), ("X'6869'", "hi")]
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


def test_a_client_that_never_closes_is_bounded(probe):
    """hs2: the oldest operation gives way"""
    first = probe.run("select 0")
    for number in range(200):
        probe.run(f"select {number}")
    assert "Invalid OperationHandle" in probe.status(first).status.errorMessage
