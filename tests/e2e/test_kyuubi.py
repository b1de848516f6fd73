"""Kyuubi's REST API: sessions and statements on real Spark. Cases: spec of Kyuubi's REST API."""

import json
import subprocess
import threading
import uuid

import pytest
from berth_up import wait_until
from gate import Gate
from kyuubi_client import Kyuubi

SESSION = {"user", "conf", "sessionType", "sessionName", "engineId", "engineName", "engineUrl", "totalOperations",
           "exception"}
SESSION_DATA = SESSION | {"identifier", "remoteId", "ipAddr", "createTime", "duration", "idleTime", "kyuubiInstance"}
SESSION_EVENT = SESSION | {"sessionId", "clientVersion", "remoteSessionId", "clientIp", "serverIp", "eventTime",
                           "openedTime", "startTime", "endTime"}
OPERATION = {"remoteId", "statement", "state", "createTime", "startTime", "completeTime", "exception", "sessionId",
             "sessionUser", "sessionType", "kyuubiInstance", "metrics", "progress"}
OPERATION_DATA = OPERATION | {"identifier"}
OPERATION_EVENT = OPERATION | {"statementId", "shouldRunAsync", "eventTime"}
COLUMNS = ("TABLE_CAT TABLE_SCHEM TABLE_NAME COLUMN_NAME DATA_TYPE TYPE_NAME COLUMN_SIZE BUFFER_LENGTH DECIMAL_DIGITS "
           "NUM_PREC_RADIX NULLABLE REMARKS COLUMN_DEF SQL_DATA_TYPE SQL_DATETIME_SUB CHAR_OCTET_LENGTH "
           "ORDINAL_POSITION IS_NULLABLE SCOPE_CATALOG SCOPE_SCHEMA SCOPE_TABLE SOURCE_DATA_TYPE "
           "IS_AUTO_INCREMENT").split()
SLOW = "select sum(id * 7 % 11) from range(0, 2000000000000)"
RERUN = 'berth_statements_rerun_total{class="read",delivered="some"}'


@pytest.fixture
def client(up, user):
    up.wait_warm()
    return Kyuubi(up.endpoints["kyuubi"], user)


@pytest.fixture
def session(client):
    session = client.open(protocolVersion=9)
    yield session
    client.ask("DELETE", f"sessions/{session.handle}")


@pytest.fixture
def early(client):
    """A session whose statements are finished with their first rows."""
    session = client.open({"kyuubi.operation.incremental.collect": "true"}, protocolVersion=9)
    yield session
    client.ask("DELETE", f"sessions/{session.handle}")


@pytest.fixture
def gate(early, connect, user, tmp_path):
    """Holds back all but the first partition, in that session."""
    gate = Gate(tmp_path)
    # The same session over Spark Connect.
    gate.register(connect(user, session_id=early.handle))
    return gate


@pytest.fixture(scope="module")
def kept_session(up):
    """A session that tests use after each other."""
    up.wait_warm()
    client = Kyuubi(up.endpoints["kyuubi"], f"u{uuid.uuid4().hex[:8]}")
    # What the driver of another server was started with has no meaning here.
    session = client.open({"spark.master": "yarn", "spark.hadoop.a": "b"}, protocolVersion="9")
    yield session
    session.close()


def test_what_needs_no_session(client):
    """kyuubi#1, #2, #3, #10, #74"""
    assert client.call("GET", "version")["version"]
    status, headers, text = client.ask("GET", "ping")
    assert (status, headers["Content-Type"].split(";")[0], text) == (200, "text/plain", "pong")
    status, target = client.location("/")
    assert (status, target) == (307, "/ui")
    assert client.refused("GET", "nothing/here")[0] == 404
    assert client.refused("PUT", "sessions", {})[0] == 405
    assert client.refused("POST", "sessions", raw=b"{")[0] == 400
    client.headers["Accept"] = "text/html"
    assert client.refused("GET", "nothing/here")[0] == client.refused("GET", "/nothing")[0] == 404
    for page in ("/ui", "/ui/", "/ui/sessions/x"):
        status, headers, text = client.ask("GET", page)
        assert (status, headers["Content-Type"].split(";")[0]) == (200, "text/html") and "<h1>" in text, page
    assert client.call("GET", "sessions/count/") == client.call("GET", "sessions/count")


def test_every_call_that_is_described_is_there(client):
    none = uuid.uuid4()
    paths = client.call("GET", "/api/openapi.json")["paths"]
    assert len(paths) > 30
    for path, methods in paths.items():
        for method in methods:
            asked = path.replace("{number}", "13").replace("{what}", "deny_ips")
            for name in ("session", "operation", "batch"):
                asked = asked.replace("{" + name + "}", str(none))
            status, _, text = client.ask(method.upper(), asked, {} if method in ("post", "put") else None)
            assert status < 500 and status != 405 and "there is nothing at" not in text, (method, path, status, text)
    for opened in client.call("GET", "sessions"):
        client.call("DELETE", f"sessions/{opened['identifier']}")


def test_a_session_from_its_opening_to_its_end(up, client):
    """kyuubi#11, #12, #13, #14, #15, #16, #17, #18, #19, #47"""
    client.headers["X-Real-IP"] = "10.1.1.1"

    def handles():
        """Those of all sessions; those of other tests may end meanwhile."""
        count = client.call("GET", "sessions/count")["openSessionCount"]
        listed = [each["identifier"] for each in client.call("GET", "admin/sessions?sessionType=INTERACTIVE")]
        return {"all": listed} if len(listed) == count else None

    confs = {"testConfig": "testValue", "my.password": "hidden"}
    opened = client.call("POST", "sessions", {"configs": confs, "whatever": [1]})
    handle = str(uuid.UUID(opened["identifier"]))
    assert opened["kyuubiInstance"] == up.endpoints["kyuubi"]
    assert handle in wait_until(handles, 30, "sessions are not counted")["all"]
    shown = client.call("GET", f"sessions/{handle}")
    assert shown["conf"]["testConfig"] == "testValue"
    assert shown["conf"]["my.password"] == "*********(redacted)"
    assert (shown["clientIp"], shown["conf"]["kyuubi.client.ipAddress"]) == ("10.1.1.1", "10.1.1.1")
    (listed,) = client.call("GET", "sessions")
    assert (set(listed), set(shown)) == (SESSION_DATA, SESSION_EVENT)
    assert listed["identifier"] == shown["sessionId"] == handle
    assert listed["conf"] == shown["conf"] and listed["conf"]["my.password"] == "*********(redacted)"
    assert (listed["exception"], shown["exception"]) == ("", None)
    assert Kyuubi(up.endpoints["kyuubi"], "somebody").call("GET", "sessions") == []
    named = client.call("GET", f"sessions/{handle}/info/13")
    assert named["infoType"] == "CLI_SERVER_NAME" and named["infoValue"]
    assert client.call("GET", f"sessions/{handle}/info/18")["infoValue"]
    for number in ("-1", "abc"):
        assert client.refused("GET", f"sessions/{handle}/info/{number}")[0] == 404
    for unknown in (str(uuid.uuid4()), "not-a-uuid"):
        assert client.refused("GET", f"sessions/{unknown}")[0] == 404
    pool = client.call("GET", "sessions/execPool/statistic")
    assert set(pool) == {"execPoolSize", "execPoolActiveCount", "execPoolWorkQueueSize"}
    assert all(isinstance(number, int) for number in pool.values())
    assert client.ask("DELETE", f"sessions/{handle}")[::2] == (200, "")
    assert client.refused("DELETE", f"sessions/{handle}")[0] == 404
    assert handle not in wait_until(handles, 30, "sessions are not counted")["all"]


def test_without_a_login_a_session_is_nobodys(up):
    """kyuubi#9"""
    client = Kyuubi(up.endpoints["kyuubi"])
    session = client.open()
    assert session.shown()["user"] == "anonymous"
    assert session.shown()["conf"]["kyuubi.client.ipAddress"] == "127.0.0.1"
    session.close()


def test_i7_a_session_and_its_operations_are_their_owners(up, client, session):
    """kyuubi#15, #46"""
    operation = session.begin("select 1")
    session.settled(operation)
    other = Kyuubi(up.endpoints["kyuubi"], "somebody")
    for method, path in (
            ("GET", f"sessions/{session.handle}"), ("DELETE", f"sessions/{session.handle}"),
            ("GET", f"operations/{operation}/event"), ("GET", f"operations/{operation}/rowset")):
        assert other.refused(method, path)[0] == 404, path
    assert other.refused("PUT", f"operations/{operation}", {"action": "close"})[0] == 404
    assert other.refused("POST", f"sessions/{session.handle}/operations/statement", {"statement": "select 1"})[0] == 404
    assert session.rows(operation) == [[1]]


def test_statements_that_are_waited_for_and_not(kept_session):
    """kyuubi#20, #21, #22, #34, #43"""
    session = kept_session
    operation = session.begin("select 1", queryTimeout=None)
    event = session.settled(operation)
    assert event["state"] == "FINISHED_STATE"
    assert event["startTime"] > 0 and event["completeTime"] >= event["startTime"]
    assert event["exception"] is None and event["shouldRunAsync"]
    waited = session.begin("select 2", runAsync=False)
    assert session.rows(waited) == [[2]]
    shown = session.client.call("GET", f"sessions/{session.handle}/operations")
    assert {operation, waited} <= {each["identifier"] for each in shown}
    assert {each["sessionId"] for each in shown} == {session.handle}
    assert all(each["state"].endswith("_STATE") for each in shown)
    assert (set(shown[0]), set(event)) == (OPERATION_DATA, OPERATION_EVENT)
    assert set(event["metrics"]) == {"fetchLogCount", "fetchResultsCount"}
    had = session.shown()["totalOperations"]
    assert had >= 2
    assert session.client.ask("PUT", f"operations/{waited}", {"action": "close"})[0] == 200
    assert session.shown()["totalOperations"] == had
    asked = session.begin("select 3", runAsync="false", queryTimeout="60")
    assert session.page(asked, 0) == [] and session.rows(asked) == [[3]]


def test_a_wrong_statement_is_told_in_the_parsers_words(kept_session):
    """kyuubi#23"""
    client, path = kept_session.client, f"sessions/{kept_session.handle}/operations/statement"
    status, message = client.refused("POST", path, {"statement": "selec 1", "runAsync": False})
    assert (status, "PARSE_SYNTAX_ERROR" in message) == (404, True), message
    event = kept_session.settled(kept_session.begin("selec 1"))
    assert event["state"] == "ERROR_STATE"
    assert "PARSE_SYNTAX_ERROR" in event["exception"]["message"]
    assert client.refused("POST", path, {})[0] == 400


def test_a_statement_is_stopped_by_its_limit_and_by_its_client(kept_session):
    """kyuubi#24, #34, #36, #37"""
    session, client = kept_session, kept_session.client
    assert session.settled(session.begin(SLOW, queryTimeout=6))["state"] == "TIMEDOUT_STATE"
    operation = session.begin(SLOW)
    wait_until(lambda: session.event(operation)["progress"], 60, "it does not run")
    assert session.event(operation)["state"] == "RUNNING_STATE"
    assert client.refused("GET", f"operations/{operation}/rowset")[0] == 404
    assert client.refused("PUT", f"operations/{operation}", {"action": "explode"})[0] == 404
    assert client.ask("PUT", f"operations/{operation}", {"action": "cancel"})[::2] == (200, "")
    assert session.settled(operation)["state"] == "CANCELED_STATE"
    assert client.ask("PUT", f"operations/{operation}", {"action": "CLOSE"})[0] == 200
    assert client.refused("GET", f"operations/{operation}/event")[0] == 404
    assert session.run("select 3") == [[3]]


TYPES = [
    ("true", "BOOLEAN_TYPE", "BOOL_VAL", True),
    ("cast(1 as tinyint)", "TINYINT_TYPE", "BYTE_VAL", 1),
    ("cast(2 as smallint)", "SMALLINT_TYPE", "I16_VAL", 2),
    ("3", "INT_TYPE", "I32_VAL", 3),
    ("9223372036854775807", "BIGINT_TYPE", "I64_VAL", 9223372036854775807),
    ("cast(1.2 as float)", "FLOAT_TYPE", "DOUBLE_VAL", 1.2),
    ("cast('NaN' as double)", "DOUBLE_TYPE", "DOUBLE_VAL", "NaN"),
    ("cast(2.5 as double)", "DOUBLE_TYPE", "DOUBLE_VAL", 2.5),
    ("cast('Infinity' as double)", "DOUBLE_TYPE", "DOUBLE_VAL", "Infinity"),
    ("'a\u00e4'", "STRING_TYPE", "STRING_VAL", "a\u00e4"),
    ("cast(1.5 as decimal(10,3))", "DECIMAL_TYPE", "STRING_VAL", "1.500"),
    ("date'2024-02-29'", "DATE_TYPE", "STRING_VAL", "2024-02-29"),
    ("timestamp_ntz'2024-02-29 01:02:03.5'", "TIMESTAMP_TYPE", "STRING_VAL", "2024-02-29 01:02:03.5"),
    ("timestamp'2024-02-29 01:02:03.25'", "TIMESTAMP_TYPE", "STRING_VAL", "2024-02-29 01:02:03.25"),
    ("cast('ab' as char(3))", "STRING_TYPE", "STRING_VAL", "ab"),
    ("cast('ab' as varchar(3))", "STRING_TYPE", "STRING_VAL", "ab"),
    ("make_interval(1, 2, 0, 3)", "STRING_TYPE", "STRING_VAL", "1 years 2 months 3 days"),
    ("array(1, 2)", "ARRAY_TYPE", "STRING_VAL", "[1,2]"),
    ("map('k', 1)", "MAP_TYPE", "STRING_VAL", '{"k":1}'),
    ("named_struct('f', 1)", "STRUCT_TYPE", "STRING_VAL", '{"f":1}'),
    ("interval '1' year", "INTERVAL_YEAR_MONTH_TYPE", "STRING_VAL", "1-0"),
    ("interval '1' day", "INTERVAL_DAY_TIME_TYPE", "STRING_VAL", "1 00:00:00.000000000"),
    ("unhex('6869')", "BINARY_TYPE", "BINARY_VAL", "aGk="),
    ("X'00FF'", "BINARY_TYPE", "BINARY_VAL", "AP8="),
    ("null", "NULL_TYPE", "STRING_VAL", None),
]


def test_every_type_has_its_names_and_its_kind_of_json(kept_session):
    """kyuubi#26, #27, #28, #29, #30"""
    listed = ", ".join(f"{text} as c{at}" for at, (text, *_) in enumerate(TYPES))
    nulls = ", ".join(f"if(rand() < 0, c{at}, null)" for at in range(len(TYPES)))
    operation = kept_session.begin(f"select {listed}", runAsync=False)
    columns = kept_session.columns(operation)
    assert [column["dataType"] for column in columns] == [kind for _, kind, _, _ in TYPES]
    assert [column["columnName"] for column in columns] == [f"c{at}" for at in range(len(TYPES))]
    (decimal,) = [column for column in columns if column["dataType"] == "DECIMAL_TYPE"]
    assert (decimal["precision"], decimal["scale"], TYPES[decimal["columnIndex"]][1]) == (10, 3, "DECIMAL_TYPE")
    (row,) = kept_session.page(operation)
    assert [(field["dataType"], field["value"]) for field in row] == [(name, value) for *_, name, value in TYPES]
    operation = kept_session.begin(f"select {nulls} from (select {listed})", runAsync=False)
    (row,) = kept_session.page(operation)
    assert row == [{"dataType": kind, "value": None} for _, _, kind, _ in TYPES]


def test_bytes_are_text_for_clients_that_name_no_version(client):
    """kyuubi#24, #29: nor do they know a state of their own for what took too long"""
    session = client.open()
    assert session.settled(session.begin(SLOW, queryTimeout=2))["state"] == "CANCELED_STATE"
    operation = session.begin("select unhex('6869') as b", runAsync=False)
    assert session.page(operation) == [[{"dataType": "STRING_VAL", "value": "hi"}]]
    session.close()


def test_rows_come_in_pages(kept_session):
    """kyuubi#31, #32, #33"""
    operation = kept_session.begin("select id from range(250)", runAsync=False)
    counts = [len(kept_session.page(operation, 100)) for _ in range(4)]
    assert counts == [100, 100, 50, 0]
    first = kept_session.page(operation, 100, "FETCH_FIRST")
    assert [row[0]["value"] for row in first] == list(range(100))
    path = f"operations/{operation}"
    assert kept_session.client.refused("GET", f"{path}/rowset?fetchorientation=NONSENSE")[0] == 400
    assert kept_session.client.refused("GET", f"{path}/log?fetchorientation=FETCH_PRIOR")[0] == 400


def test_a_log_is_read_line_by_line(kept_session):
    """kyuubi#35"""
    operation = kept_session.begin("show tables", runAsync=False)
    path = f"operations/{operation}/log?maxrows=10"
    first = kept_session.client.call("GET", path)
    assert first["rowCount"] == len(first["logRowSet"]) == 10
    assert any("show tables" in line for line in first["logRowSet"])
    for ignored in ("spark.master", "spark.hadoop.a"):
        assert any(line.startswith(f"WARN {ignored} ") or f"WARN {ignored} " in line for line in first["logRowSet"])
    while kept_session.client.call("GET", path)["rowCount"]:
        pass
    again = kept_session.client.call("GET", f"{path}&fetchorientation=FETCH_FIRST")
    assert again == first


def test_the_catalog_is_asked(kept_session):
    """kyuubi#38, #39, #40, #41, #42"""
    session, client = kept_session, kept_session.client

    def names(question, **wanted):
        operation = session.ask(question, **wanted)
        return [column["columnName"] for column in session.columns(operation)], session.rows(operation)

    for body in (None, b'""', b"{}"):
        for question in ("catalogs", "typeInfo", "tableTypes"):
            status, _, text = client.ask("POST", f"sessions/{session.handle}/operations/{question}", raw=body)
            assert status == 200 and uuid.UUID(json.loads(text)["identifier"])
    shape, catalogs = names("catalogs")
    assert shape == ["TABLE_CAT"] and ["spark_catalog"] in catalogs
    shape, types = names("typeInfo")
    assert (len(shape), shape[0], shape[-1]) == (18, "TYPE_NAME", "NUM_PREC_RADIX")
    assert {"BIGINT", "STRING"} <= {row[0] for row in types}
    assert names("tableTypes")[0] == ["TABLE_TYPE"]
    session.run("create database if not exists asked")
    schemas = {row[0] for row in names("schemas", catalogName=None, schemaName="def%")[1]}
    assert "default" in schemas and all(name.startswith("def") for name in schemas)
    assert {"default", "asked"} <= {row[0] for row in names("schemas")[1]}
    session.run("create table if not exists asked.kept (n bigint)")
    session.run("create temporary view seen as select 1 as a, 'x' as b")
    views, kept = (names("tables", tableTypes=[kind])[1] for kind in ("VIEW", "TABLE"))
    assert {row[3] for row in views} == {"VIEW"} and {row[3] for row in kept} == {"TABLE"}
    assert ["seen" in [row[2] for row in rows] for rows in (views, kept)] == [True, False]
    assert ["kept" in [row[2] for row in rows] for rows in (views, kept)] == [False, True]
    shape, columns = names("columns", tableName="seen", columnName="%")
    assert (shape, [row[3] for row in columns]) == (COLUMNS, ["a", "b"])
    assert [row[3] for row in names("columns", tableName="seen", columnName="b%")[1]] == ["b"]
    functions = {row[2] for row in names("functions", functionName="ab%")[1]}
    assert "abs" in functions and all(name.startswith("ab") for name in functions)
    session.run("drop table asked.kept")
    for question in ("primaryKeys", "crossReference"):
        assert client.refused("POST", f"sessions/{session.handle}/operations/{question}", {})[0] == 404
    assert session.run("select 4") == [[4]]


def test_a_session_begins_in_its_database(client, kept_session):
    kept_session.run("create database if not exists begun")
    session = client.open({"use:database": "begun"})
    assert session.run("select current_database()") == [["begun"]]
    session.close()


def test_the_short_forms_of_articles_on_both_ports(up, user):
    """`conf` and `code`, without the version of the API, with curl itself"""
    up.wait_warm()

    def curl(*words):
        line = ["curl", "-s", "-u", f"{user}:", "-H", "Content-Type: application/json", *words]
        return json.loads(subprocess.run(line, check=True, capture_output=True, timeout=300).stdout)

    for port in ("kyuubi", "hs2"):
        base = f"http://{up.endpoints[port]}"
        conf = {"conf": {"spark.sql.shuffle.partitions": "3"}}
        session = curl("-X", "POST", f"{base}/sessions", "-d", json.dumps(conf))["identifier"]
        code = {"code": "SELECT 40 + 2"}
        path = f"{base}/sessions/{session}/operations/statement"
        operation = curl("-X", "POST", path, "-d", json.dumps(code))["identifier"]
        rows = curl(f"{base}/api/v1/operations/{operation}/rowset")["rows"]
        assert rows == [{"fields": [{"dataType": "I32_VAL", "value": 42}]}]
        assert curl(f"{base}/api/v1/sessions/{session}")["conf"]["spark.sql.shuffle.partitions"] == "3"
        subprocess.run(["curl", "-sf", "-u", f"{user}:", "-X", "DELETE", f"{base}/sessions/{session}"], check=True)


def test_i2_state_is_back_after_the_driver_was_killed(up, client, session):
    session.run("create temporary view v as select id from range(7)")
    session.run("set my.key=kept")
    up.wait_warm()
    up.kill_driver(user=client_user(session))
    assert session.run("select count(*) from v") == [[7]]
    assert session.run("set my.key") == [["my.key", "kept"]]
    assert [each["identifier"] for each in client.call("GET", "sessions")] == [session.handle]


def test_i2_a_read_goes_on_after_its_driver_was_killed(up, early, gate, user):
    """kyuubi#31, #73: the driver is killed between two pages; no row is missing, none comes twice"""
    rows, rerun = 20_000, up.metric(RERUN)
    operation = early.begin(f"select gate(id) as id, repeat('x', 50) from range(0, {rows}, 1, 16)", runAsync=False)
    got = [row[0]["value"] for row in early.page(operation, 1000)]
    up.wait_warm()
    up.kill_driver(user)
    gate.open()
    got += [row[0] for row in early.rows(operation, 5000)]
    assert got == list(range(rows))
    assert up.metric(RERUN) == rerun + 1


def test_i3_a_write_whose_driver_was_killed_is_not_run_again(up, session):
    """kyuubi#73: the client is told that nobody knows what became of it"""
    session.run("create table if not exists written (n bigint)")
    operation = session.begin("insert into written select sum(id * 7 % 11) from range(0, 2000000000000)")
    wait_until(lambda: session.event(operation)["progress"], 120, "it does not run")
    up.wait_warm()
    up.kill_driver(user=client_user(session))
    event = session.settled(operation)
    assert event["state"] == "ERROR_STATE"
    assert "unknown" in event["exception"]["message"].lower()
    session.run("drop table written")


def client_user(session):
    return session.shown()["user"]


def beside(up, session, user):
    """The sessions of statements that have one of their own."""
    return [row for row in up.ask("sessions") if row["owner"] == user and row["client_id"] != session.handle]


def test_settings_of_one_statement_are_for_it_alone(up, client, session, user):
    """kyuubi#25: it sees the session's state, and neither the session nor what runs beside it sees its settings"""
    session.run("create temporary view v as select '12x' as t")
    cast, lenient = "select cast(t as int) from v", {"spark.sql.ansi.enabled": "false"}
    path = f"sessions/{session.handle}/operations/statement"
    slow = session.begin("select count(cast('x' || id as int)) from range(2000000000000)", confOverlay=lenient)
    wait_until(lambda: session.event(slow)["progress"], 120, "it does not run")
    assert "CAST_INVALID_INPUT" in client.refused("POST", path, {"statement": cast, "runAsync": False})[1]
    assert session.run(cast, confOverlay=lenient) == [[None]]
    assert client.ask("PUT", f"operations/{slow}", {"action": "cancel"})[0] == 200
    wait_until(lambda: not beside(up, session, user), 60, "a statement's own session stays")
    assert session.run("set spark.sql.ansi.enabled") == [["spark.sql.ansi.enabled", "true"]]
    table = f"t_{user}"
    session.run(f"create table {table} as {cast}", confOverlay=lenient)
    assert session.run(f"select * from {table}") == [[None]]
    session.run(f"drop table {table}")
    status, message = client.refused("POST", path, {"statement": cast, "confOverlay": {"spark.sql.extensions": "x"}})
    assert status == 404 and "may not be set" in message
    noted = session.begin("set a=b", confOverlay=lenient, runAsync=False)
    log = client.call("GET", f"operations/{noted}/log")["logRowSet"]
    assert any("WARN spark.sql.ansi.enabled is not heeded" in line for line in log), log


def test_i1_settings_of_one_statement_outlive_its_driver_and_do_not_stay(up, early, gate, user):
    """kyuubi#25: its driver is killed between two pages"""
    rows, rerun = 20_000, up.metric(RERUN)
    operation = early.begin(f"select gate(id) as id, cast('x' || id as int) n from range(0, {rows}, 1, 16)",
                            confOverlay={"spark.sql.ansi.enabled": "false"})
    assert early.settled(operation)["state"] == "FINISHED_STATE"
    read = [[field["value"] for field in row] for row in early.page(operation, 10)]
    (own,) = beside(up, early, user)
    up.wait_warm()
    up.kill_driver(client_id=own["client_id"])
    gate.open()
    read += early.rows(operation, 5000)
    assert read == [[number, None] for number in range(rows)]
    assert up.metric(RERUN) == rerun + 1
    wait_until(lambda: not beside(up, early, user), 60, "a statement's own session stays")
    assert early.run("set spark.sql.ansi.enabled") == [["spark.sql.ansi.enabled", "true"]]


def test_a_session_is_on_a_driver_with_no_more_than_it_wants(up, client):
    """Of a profile whose drivers a tenant shares"""
    def driver_of(**confs):
        made.append(client.open({"berth.profile": "together", **confs}))
        assert made[-1].run("select 1") == [[1]]
        return up.session(client_id=made[-1].handle)["driver"]
    made = []
    level, subdomain = "kyuubi.engine.share.level", "kyuubi.engine.share.level.subdomain"
    shared = driver_of()
    assert driver_of() == driver_of(**{level: "SERVER"}) == shared
    own = driver_of(**{level: "CONNECTION"})
    named = driver_of(**{subdomain: "etl"})
    assert driver_of(**{subdomain: "etl"}) == named
    assert len({shared, own, named}) == 3
    for session in made:
        session.close()


def test_many_calls_at_once_are_answered(kept_session):
    found = []

    def run(number):
        found.append(kept_session.run(f"select {number}"))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [[[number]] for number in range(8)]
