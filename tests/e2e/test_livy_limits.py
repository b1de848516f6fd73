"""More than a driver takes at once, over Livy's REST API. Cases: spec of Livy."""

import pytest
from berth_up import wait_until
from livy_client import LivySession

# An agent takes 32 of a session at once.
MANY = 40


@pytest.fixture
def livy(up):
    up.wait_warm()
    session = LivySession(up.endpoints["livy"]).wait_idle()
    yield session
    session.close()


def queued(livy, gate, target):
    """A statement that waits for a file, and many behind it that tell when they run."""
    livy.run("seen = []")
    first = livy.submit(f"import os, time\nopen({str(target)!r}, 'a').write('once')\n"
                        f"while not os.path.exists({str(gate)!r}):\n    time.sleep(0.05)")
    wait_until(target.exists, 60, "the statement does not run")
    behind = [livy.submit(f"seen.append({n})") for n in range(MANY)]
    assert livy.call("GET", f"/{livy.id}/statements/{behind[-1]}")["state"] == "waiting"
    return first, behind


def test_i2_statements_wait_for_their_turn_however_many(livy, tmp_path):
    """livy#68: those that the driver does not take yet, too; one of them is cancelled at once (livy#69)"""
    gate = tmp_path / "gate"
    first, behind = queued(livy, gate, tmp_path / "written")
    livy.call("POST", f"/{livy.id}/statements/{behind[-1]}/cancel")
    assert livy.ended(behind[-1])["state"] == "cancelled"
    assert livy.state() == "busy"
    gate.touch()
    for statement in [first, *behind[:-1]]:
        assert livy.output(statement)["status"] == "ok"
    assert livy.run("seen") == str(list(range(MANY - 1)))
    wait_until(lambda: livy.state() == "idle", 30, "it stays busy")


def test_i2_statements_that_wait_run_in_order_on_the_next_driver(up, livy, tmp_path):
    """livy#68, #113: the one that ran is not run again, and none of the others ends as not run"""
    target = tmp_path / "written"
    first, behind = queued(livy, tmp_path / "gate", target)
    up.wait_warm()
    up.kill_driver(dialect="livy", client_id=str(livy.id))
    assert livy.output(first)["ename"] == "OutcomeUnknown"
    for statement in behind:
        output = livy.output(statement)
        assert output["status"] == "ok", output
    assert livy.run("seen") == str(list(range(MANY)))
    assert target.read_text() == "once"


def test_a_table_of_many_rows_is_cut(livy):
    """livy#77"""
    output = livy.output(livy.submit("frame = spark.range(3000)\n%table frame"))
    assert output["status"] == "ok", output
    table = output["data"]["application/vnd.livy.table.v1+json"]
    assert table["data"] == [[n] for n in range(1000)]
