"""What a session of HiveServer2 begins with, and how its values look. Cases: spec of that protocol, section 10."""

import subprocess
from pathlib import Path

import pyspark
import pytest
from berth_up import wait_until
from hive_probe import ERROR, SUCCESS, Probe


@pytest.fixture
def open_with(up, user, together):
    opened = []

    def make(**conf):
        probe = Probe(up.endpoints["hs2"], user=user)
        assert probe.open(conf=conf).status.statusCode == SUCCESS
        opened.append(probe)
        return probe

    yield make
    for probe in opened:
        probe.close_session()
        probe.leave()


def log_of(probe, operation):
    lines = []

    def whole():
        lines.extend(line for (line,) in probe.rows(operation, kind=1))
        return any("rows are here" in line for line in lines)

    wait_until(whole, 60, f"the log does not end: {lines}")
    return lines


def test_a_conf_that_spark_refuses_leaves_the_others(open_with):
    """hs2#18, #39: and its client is told which it was, beside the driver that it got"""
    confs = {"spark.sql.adaptive.enabled": "perhaps", "spark.sql.ansi.enabled": "false", "spark.sql.shuffle.partitions": "7"}
    probe = open_with(**{f"set:hiveconf:{key}": value for key, value in confs.items()})
    operation = probe.run("set spark.sql.shuffle.partitions")
    assert probe.rows(operation)[0][1] == "7"
    assert probe.value("select cast('x' as int)") is None
    lines = log_of(probe, operation)
    (told,) = [line for line in lines if "conf spark.sql.adaptive.enabled" in line]
    assert "placed on" in told and "perhaps" in told


@pytest.mark.parametrize(["zone", "shown"], [
    ("GMT+8", "2020-01-01 08:00:00"), ("+8:00", "2020-01-01 08:00:00"), ("PST", "2019-12-31 16:00:00"),
    ("+05:30:15", "2020-01-01 05:30:15"), ("America/St_Johns", "2019-12-31 20:30:00"),
])
def test_times_are_those_of_the_session(open_with, zone, shown):
    """hs2#34: whatever name of a zone Spark takes, as Spark itself writes them"""
    probe = open_with(**{"set:hiveconf:spark.sql.session.timeZone": zone})
    operation = probe.run("select t, cast(t as string), array(t) from (select timestamp'2020-01-01 00:00:00Z' as t)")
    assert probe.rows(operation) == [[shown, shown, f"[{shown}]"]]


def test_values_without_a_form_of_their_own(open_with):
    """hs2#31: variants are JSON, and bytes within others are text, for clients that want UTF-8"""
    probe = open_with()
    rows = probe.rows(probe.run("""select parse_json('{"a":[1,null,"x"],"b":1.5}'), parse_json('[true]'),
                                   array(X'6869', X'FF'), array(parse_json('{"k":2}'))"""))
    assert rows == [['{"a":[1,null,"x"],"b":1.5}', "[true]", "[hi,\ufffd]", '[{"k":2}]']]


def test_the_default_database_may_be_missing(up, user, open_with):
    """hs2#16: every JDBC driver names it, also for a catalog that has none"""
    probe = open_with(**{"use:catalog": "second", "use:database": "default"})
    assert probe.value("select current_catalog()") == "second"
    missing = Probe(up.endpoints["hs2"], user=user).open(conf={"use:catalog": "second", "use:database": "nowhere"}).status
    assert missing.statusCode == ERROR and "nowhere" in missing.errorMessage


def test_beeline_draws_how_far_a_statement_is(up):
    """hs2#54: it asks second by second"""
    slow = "select count(x) as n from (select reflect('java.lang.Thread', 'sleep', bigint(100)) as x from range(0, 80, 1, 20))"
    url = f"jdbc:hive2://{up.endpoints['hs2']}/default?berth.profile=together"
    command = ["java", "-cp", f"{Path(pyspark.__file__).parent}/jars/*", "org.apache.hive.beeline.BeeLine", "-u", url, "-n", "bob"]
    done = subprocess.run([*command, "-e", slow], capture_output=True, timeout=240, text=True)
    assert "| 80  |" in done.stdout and "1 row selected" in done.stderr, done.stderr
    assert "Error" not in done.stderr and "Exception" not in done.stderr, done.stderr
    assert "COMPLETED" in done.stderr, "it drew nothing"
