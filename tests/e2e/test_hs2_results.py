"""Results that are larger than memory, over HiveServer2's Thrift protocol."""

import uuid

import pytest
from berth_up import wait_until
from gate import Gate
from hive_probe import SUCCESS, Probe, cells

ROWS = 50_000


def opened(up, user, **conf):
    up.wait_warm()
    made = Probe(up.endpoints["hs2"], user=user)
    assert made.open(profile="default", conf=conf).status.statusCode == SUCCESS
    yield made
    made.close_session()
    made.leave()


@pytest.fixture
def probe(up, user):
    yield from opened(up, user)


@pytest.fixture
def early(up, user):
    """Its statements are finished with their first rows."""
    yield from opened(up, user, **{"kyuubi.operation.incremental.collect": "true"})


def gated(connect, user, probe, tmp_path):
    """A gate for the session: its function holds back all but the first partition."""
    gate = Gate(tmp_path)
    # The same session over Spark Connect.
    gate.register(connect(user, session_id=str(uuid.UUID(bytes=probe.session.sessionId.guid))))
    return gate


def read(probe, operation, orientation=0):
    """The sum of a result's first column, and its number of rows; fetched from its start with orientation 4."""
    total, count = 0, 0
    while True:
        rows = probe.rows(operation, rows=5_000, orientation=orientation)
        if not rows:
            return total, count
        orientation = 0
        total, count = total + sum(row[0] for row in rows), count + len(rows)


def test_i8_a_result_of_which_nothing_is_fetched_leaves_its_driver(up, user, probe):
    """hs2#27, hs2#28: more than what lies in buffers; whole without the driver, and once more from its start"""
    rerun = [f'berth_statements_rerun_total{{class="read",delivered="{part}"}}' for part in ("some", "none")]
    before = [up.metric(series) for series in rerun]
    operation = probe.run(f"select id, repeat('x', 2000) as pad from range(0, {ROWS}, 1, 8)")
    here = lambda: any("rows are here" in line for (line,) in probe.rows(operation, kind=1))  # noqa: E731
    wait_until(here, 120, "the result stays in its driver")
    up.wait_warm()
    up.kill_driver(user)
    whole = (ROWS * (ROWS - 1) // 2, ROWS)
    assert read(probe, operation) == whole
    assert read(probe, operation, orientation=4) == whole
    assert [up.metric(series) for series in rerun] == before
    assert probe.value("select 1") == 1
    assert not list((up.data / "spool").iterdir()), "a file of the spool has a name"


def test_a_statement_runs_until_its_rows_are_here(user, probe, connect, tmp_path):
    """hs2#25, hs2#40: so it is canceled by the connection that waits for it, though it has rows"""
    gate = gated(connect, user, probe, tmp_path)
    statement = "select gate(id) as id from range(0, 1600, 1, 16)"
    operation = probe.execute(statement, asynchronous=True).operationHandle
    some_done = lambda: any(" 1 of 16 tasks done" in line for (line,) in probe.rows(operation, kind=1))  # noqa: E731
    wait_until(some_done, 60, "the first partition does not come")
    assert probe.status(operation).operationState == 1
    assert "Expected state FINISHED" in probe.fetch(operation).status.errorMessage
    assert probe.cancel(operation).statusCode == SUCCESS
    assert probe.status(operation).operationState == 3
    gate.open()
    assert read(probe, probe.run(statement)) == (1600 * 1599 // 2, 1600)


def test_a_page_does_not_wait_for_more_than_its_first_row(user, early, connect, tmp_path):
    """hs2#26, hs2#28"""
    probe, gate = early, gated(connect, user, early, tmp_path)
    operation = probe.run("select gate(id) as id from range(0, 1600, 1, 16)")
    page = probe.fetch(operation, rows=1000)
    assert [value for (value,) in cells(page.results)] == list(range(100)) and page.hasMoreRows
    gate.open()
    assert read(probe, operation) == (1600 * 1599 // 2 - 4950, 1500)


def test_a_finished_statement_is_canceled_behind_the_rows_that_are_there(user, early, connect, tmp_path):
    """hs2#40: what was taken from the driver is told, then that it was canceled"""
    probe, gate = early, gated(connect, user, early, tmp_path)
    operation = probe.run("select gate(id) as id from range(0, 1600, 1, 16)")
    assert probe.cancel(operation).statusCode == SUCCESS
    gate.open()
    page = probe.fetch(operation)
    assert page.hasMoreRows, "it seems whole"
    assert [value for (value,) in cells(page.results)] == list(range(100))
    assert probe.fetch(operation).status.sqlState == "57014"
    assert probe.value("select count(*) from range(0, 1000, 1, 8)") == 1000
