"""JDBC drivers of Hive and Kyuubi as their projects release them. Cases: spec of HiveServer2's protocol, section 10."""

import os
import subprocess
import uuid
from pathlib import Path

import beeline
import pyspark
import pytest
from berth_up import Guarded, Up, second_catalog, wait_until
from foreign import PROFILE, SAID, outlive_their_driver
from hive_probe import SUCCESS, Probe

JARS = Path(os.environ["BERTH_CLIENTS"]) / "jdbc"
HERE = Path(__file__).parent
OUTLIVES = HERE.parent / "e2e" / "jvm" / "JdbcClient.java"
DRIVERS = {
    "hive-3.1.3": "hive-jdbc-3.1.3-standalone.jar",
    "hive-4.1.0": "hive-jdbc-4.1.0-standalone.jar",
    "kyuubi-1.9.2": "kyuubi-hive-jdbc-shaded-1.9.2.jar",
}
FORMS = ("binary", "http")
BOTH = [f"{driver} {form}" for driver in DRIVERS for form in FORMS]
# A profile of its own for those whose driver is not killed.
CALM = "calm"
OPENED = 'berth_requests_total{dialect="hs2",rpc="OpenSession",outcome="ok"}'
ANN, BOB, OPS = "ann-token-0123456789", "bob-token-0123456789", "ops-token-0123456789"


@pytest.fixture(scope="module")
def berth(tmp_path_factory):
    """A Berth whose drivers have a second catalog, and room for tasks that wait."""
    flags = []
    for profile in (PROFILE, CALM):
        confs = second_catalog(tmp_path_factory.mktemp(profile) / "derby")
        for setting in ("share=tenant", "warm=0", "fast-jit=true", "master=local[16]", f"confs={confs}"):
            flags += ["--set", f"agent.profiles.{profile}.{setting}"]
    made = Up(tmp_path_factory.mktemp("berth"), "--warm", "0", *flags)
    yield made
    made.stop()


@pytest.fixture(scope="module")
def calm(berth):
    """A driver that stays between the programs, with tables in both catalogs."""
    probe = Probe(berth.endpoints["hs2"], user="kept")
    assert probe.open(profile=CALM).status.statusCode == SUCCESS
    for statement in (
        "create database crawled",
        "create table crawled.t (id bigint comment 'key', d decimal(10,2), t string, a array<int>) using parquet",
        "create table crawled.u (b int, p int) using parquet partitioned by (p)",
        "create view crawled.v as select 1 as one",
        "create namespace second.`INNER`",
        "create table second.`INNER`.t (a int, b varchar(20))",
    ):
        probe.run(statement)
    yield
    probe.close_session()
    probe.leave()


@pytest.fixture(scope="module")
def classes(tmp_path_factory):
    """The programs, compiled without any driver: they know JDBC alone."""
    made = tmp_path_factory.mktemp("classes")
    sources = [str(HERE / "java" / name) for name in ("HiveClient.java", "HiveCrawl.java")]
    subprocess.run(["javac", "-d", str(made), *sources], check=True)
    return made


def url(berth, which, profile, more=""):
    _, form = which.split()
    door, rest = ("hs2", "") if form == "binary" else ("hs2-http", ";transportMode=http;httpPath=cliservice")
    return f"jdbc:hive2://{berth.endpoints[door]}/default{rest};user=u{uuid.uuid4().hex[:8]}?berth.profile={profile}{more}"


def java(which, classes=None):
    driver, _ = which.split()
    path = [str(JARS / DRIVERS[driver]), *([str(classes)] if classes else [])]
    return ["java", "-Xmx256m", "-Dorg.slf4j.simpleLogger.defaultLogLevel=off", "-cp", ":".join(path)]


def say(commands, meanwhile=lambda: None):
    """What each of the programs says, all running at once: lines by their head."""
    running = {name: subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for name, command in commands.items()}
    try:
        meanwhile()
        said = {name: process.communicate(timeout=300)[0] for name, process in running.items()}
    finally:
        for process in running.values():
            process.kill()
    return {name: dict(line.split(": ", 1) for line in lines.splitlines()) for name, lines in said.items()}


def test_i2_the_drivers_outlive_sparks_driver(berth, calm, tmp_path):
    """hs2#55, #56, #65, #66: SET, USE and a view between statements; a result of which half is held back, under a read"""
    gate = tmp_path / "gate"
    gate.write_text("shut")
    rows = f"""select id, repeat('x', 200) as pad from range(0, 150000, 1, 2) where id < 75000
        or (select max(value) from text.`{gate}`) = 'open' or reflect('java.lang.Thread', 'sleep', 600000L) is not null"""
    urls = {which: url(berth, which, PROFILE).removeprefix("jdbc:") for which in BOTH}
    commands = {which: ([*java(which), str(OUTLIVES), urls[which], rows, "crawled"],) for which in BOTH}
    said, rerun = outlive_their_driver(berth, commands, before_the_second=lambda: gate.write_text("open"))
    assert said == dict.fromkeys(BOTH, SAID)
    assert rerun == len(BOTH)


@pytest.fixture(scope="module")
def used(berth, calm, classes):
    def command(which):
        # The format that Berth does not have: the driver is told that it gets the other one.
        more = ";kyuubi.operation.result.format=arrow" if which == "kyuubi-1.9.2 http" else ""
        return [*java(which, classes), "berth.HiveClient", url(berth, which, CALM, more)]

    return say({which: command(which) for which in BOTH})


TYPES = [
    "boolean 16 true", "tinyint -6 -128", "smallint 5 32767", "int 4 -2147483648", "bigint -5 9223372036854775807",
    "float 6 1.2", "double 8 -Infinity", "decimal38,18 3 1.500000000000000000", "string 12 \u00fc\U0001f600", "string 12 c",
    "binary -2 00ff", "date 91 1582-10-04", "timestamp 93 2020-02-29 12:34:56.78", "timestamp 93 2020-01-01 00:00:00.0",
    "interval_year_month 1111 1-2", "interval_day_time 1111 1 02:03:04.000000000", "array 2003 [1,null]",
    'map 2000 {"k":1}', 'struct 2002 {"a":"b"}', "void 0 null", "double 8 NaN", "float 6 Infinity",
    "decimal5,2 3 -0.05", "date 91 0001-01-01", "binary -2 ", "binary -2 null",
    'array 2003 [{"d":2000-02-29,"m":{"k":1.5}}]', "tinyint -6 -1", "string 12 "]
USED = {
    "types": " | ".join(TYPES),
    "nulls": str(1 + 8 + 65),
    "labels": "1 2 2 true",
    "prepared": " ".join(f"{n} it's; a \"?\" 2020-02-29 null a?b" for n in (2, 3)),
    "large": "100000",
    "max rows": "1500 10",
    # True, since even a statement without rows has a column; no driver knows a number of changed rows.
    "counts": " ".join(["true/-1/false"] * 5),
    "cancel": "01000 2",
    "timeout": "SQLTimeoutException null Query timed out after 1 seconds",
    "logs": "told",
    "information": "tests true false",
    "threads": "[]",
    "valid": "true false",
}


@pytest.mark.parametrize("which", BOTH)
def test_what_applications_do(used, which):
    """hs2#31, #33, #34, #35, #37, #39, #40, #42, #52, #55, #56, #63"""
    said = dict(used[which])
    error = said.pop("error")
    assert "SQLException 42P01 [TABLE_OR_VIEW_NOT_FOUND]" in error
    places, catalogs = said.pop("places"), said.pop("catalogs")
    if which.startswith("kyuubi"):
        assert (places, catalogs) == ("spark_catalog.default crawled=crawled default", "second=second spark_catalog")
    else:
        # Hive has one catalog, and its drivers take no other: they answer without a call.
        assert (places, catalogs) == (".default crawled=crawled default", "=spark_catalog spark_catalog")
    assert said == USED


@pytest.fixture(scope="module")
def crawled(berth, calm, classes):
    which = [f"{driver} binary" for driver in DRIVERS]
    return say({each: [*java(each, classes), "berth.HiveCrawl", url(berth, each, CALM), "crawled"] for each in which})


CRAWLED = {
    "product": "Spark SQL 4.3.0",
    "read only": "false",
    "auto commit": "true",
    "getters": "",
    "catalogs": "{second} {spark_catalog}",
    "table types": "{TABLE} {VIEW}",
    "schemas": "{crawled,spark_catalog}",
    "spark_catalog schemas": "{crawled,spark_catalog}",
    "spark_catalog tables": "{spark_catalog,crawled,t,TABLE} {spark_catalog,crawled,u,TABLE} {spark_catalog,crawled,v,VIEW}",
    "spark_catalog views": "{v}",
    "spark_catalog columns": "{spark_catalog,t,id,-5,BIGINT,1,1} {spark_catalog,t,d,3,DECIMAL(10,2),1,2} "
                             "{spark_catalog,t,t,12,STRING,1,3} {spark_catalog,t,a,2003,ARRAY<INT>,1,4}",
    "spark_catalog all columns": "{id} {d} {t} {a} {b} {p} {one}",
    "spark_catalog functions": "{abs}",
    "second schemas": "{INNER,second}",
    "second views": "",
    "second columns": "{second,t,a,4,INT,1,1} {second,t,b,12,STRING,1,2}",
    "second all columns": "{a} {b}",
    "second functions": "{abs}",
    "show databases": "namespace rows",
    "show tables in X": "namespace,tableName,isTemporary rows",
    "show views in X": "namespace,viewName,isTemporary rows",
    "describe formatted X.t": "col_name,data_type,comment rows",
    "show create table X.t": "createtab_stmt rows",
    "show functions like 'abs'": "function rows",
    "show partitions X.u": "partition none",
    "show table extended in X like 't'": "namespace,tableName,isTemporary,information rows",
    "describe database extended X": "info_name,info_value rows",
    "explain select * from X.t": "plan rows",
    **{f"{catalog} {keys}": "" for catalog in ("spark_catalog", "second")
       for keys in ("primary keys", "indexes", "imported keys", "cross reference", "procedures", "user types")},
}


@pytest.mark.parametrize("driver", DRIVERS)
def test_what_a_database_tool_asks(crawled, driver):
    """hs2#45, #46, #47, #48, #49, #50: as DBeaver does when it connects and when its tree is opened"""
    said = crawled[f"{driver} binary"]
    assert {question: said[question] for question in CRAWLED} == CRAWLED
    assert len(said["type info"].split()) == 17
    # Hive's drivers do not send the catalog with this one question; the session's own is asked then.
    assert said["second tables"] == ("{second,INNER,t,TABLE}" if driver.startswith("kyuubi") else "")
    # What is left are answers of the drivers without a call.
    others = {question: answer for question, answer in said.items() if question not in CRAWLED}
    failed = [answer for answer in others.values() if "Exception" in answer]
    assert all(answer == "SQLFeatureNotSupportedException null Method not supported" for answer in failed), others


def test_beeline_of_hive_3(berth, calm, tmp_path):
    """hs2#54: its banner, Ctrl-C, metadata and `!quit`; what it needs besides its driver is among Spark's jars"""
    mine = [JARS / "hive-beeline-3.1.3.jar", JARS / DRIVERS["hive-3.1.3"]]
    class_path = ":".join(map(str, [*mine, f"{Path(pyspark.__file__).parent}/jars/*"]))
    where = f"jdbc:hive2://{berth.endpoints['hs2']}/default?berth.profile={CALM}"
    said = beeline.interrupted(class_path, where, f"u{uuid.uuid4().hex[:8]}", tmp_path / "said")
    assert "Connected to: Spark SQL (version 4.3.0)" in said and "Beeline version 3.1.3" in said


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """A Berth that asks for tokens, over TLS."""
    tokens = f"{ANN} ann science\n{BOB} bob science\n{OPS} ops ops operator\n"
    flags = [part for setting in ("share=tenant", "warm=0") for part in ("--set", f"agent.profiles.{PROFILE}.{setting}")]
    made = Guarded(tmp_path_factory.mktemp("guarded"), tokens, "--warm", "0", *flags)
    yield made
    made.stop()


@pytest.fixture(scope="module")
def trusted(guarded, tmp_path_factory):
    """What is said in a URL to trust that Berth's authority."""
    store, password = tmp_path_factory.mktemp("trust") / "store", "changeit"
    subprocess.run(["keytool", "-importcert", "-noprompt", "-file", guarded.ca, "-keystore", str(store), "-storepass", password],
                   check=True, capture_output=True)
    return f";ssl=true;sslTrustStore={store};trustStorePassword={password}"


def with_a_token(guarded, classes, trust, token):
    """What each driver says that asks something as ann with this token."""
    def command(which):
        place, profile = url(guarded, which, PROFILE).split("?")
        # The password is not the last: to Hive 4's driver it would go on behind the question mark.
        place = f"{place.rsplit(';', 1)[0]};user=ann;password={token}{trust}?{profile}"
        return [*java(which, classes), "berth.HiveClient", place, "select 40 + 2"]

    return say({which: command(which) for which in BOTH})


def test_i7_over_tls_a_token_is_the_password(guarded, classes, trusted):
    """hs2#10, hs2#55, hs2#56: in both forms"""
    before = guarded.metric(OPENED)
    assert with_a_token(guarded, classes, trusted, ANN) == dict.fromkeys(BOTH, {"ended": "42"})
    assert guarded.metric(OPENED) == before + len(BOTH)
    # Those of the binary form end with their connections.
    owners = [row["owner"] for row in guarded.ask("sessions")]
    assert set(owners) == {"ann"} and len(owners) >= len(DRIVERS)


@pytest.mark.parametrize("wrong", ["token", "authority"])
def test_i7_over_tls_nobody_else_is_let_in(guarded, classes, trusted, wrong):
    """hs2#3, hs2#10: with the token of somebody else; nor is a Berth that the drivers do not trust"""
    trust, token = (trusted, BOB) if wrong == "token" else (";ssl=true", ANN)
    before = guarded.metric(OPENED)
    assert with_a_token(guarded, classes, trust, token) == dict.fromkeys(BOTH, {})
    assert guarded.metric(OPENED) == before


def test_a_broker_that_dies_is_a_connection_that_broke(classes, tmp_path):
    """hs2#65: for each driver whose statement it had; no driver of Spark's is needed to wait for one"""
    sets = ("agent.driver-slots=0", "agent.catalog=none")
    berth = Up(tmp_path / "dies", "--warm", "0", *(part for each in sets for part in ("--set", each)))

    def die():
        begun = 'berth_requests_total{dialect="hs2",rpc="ExecuteStatement",outcome="ok"}'
        try:
            wait_until(lambda: berth.metric(begun) == len(BOTH), 240, "they do not begin")
        finally:
            berth.process.kill()
            berth.process.wait()

    def command(which):
        return [*java(which, classes), "berth.HiveClient", url(berth, which, "default"), "select 1"]

    said = say({which: command(which) for which in BOTH}, meanwhile=die)
    assert [which for which in BOTH if " 08S01 " not in said[which]["ended"]] == [], said
