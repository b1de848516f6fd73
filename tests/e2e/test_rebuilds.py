"""A driver that is lost while a session is being rebuilt on it. Cases: spec of Spark Connect, section 7."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor

from berth_up import wait_until
from held_file import held_file


def test_i2_a_driver_is_killed_while_a_session_is_rebuilt_on_it(up, spark, user):
    """connect#72: the rebuild begins again on a third one, and the client waits for that"""
    with held_file() as held, ThreadPoolExecutor() as pool:
        held.may_go.set()
        spark.sql("create temp view before as select 5 as n")
        spark.sql(f"add file '{held.url}'")
        spark.sql("create temp view after as select n + 2 as n from before")
        session = up.session(owner=user)
        up.wait_warm()
        held.may_go.clear()
        held.asked.clear()
        up.kill_driver(user)
        answer = pool.submit(lambda: spark.table("after").collect())
        assert held.asked.wait(120), "nothing is rebuilt"
        # Its view is there by now, and the file is not: the next driver has it, and nobody else.
        second = wait_until(lambda: driver_of(up, session["id"]), 30, "no driver has the session")
        os.kill(second["jvm_pid"], signal.SIGKILL)
        held.may_go.set()
        assert answer.result(timeout=180) == [(7,)]
        assert up.session(owner=user)["epoch"] == session["epoch"] + 2
        assert spark.table("before").collect() == [(5,)]


def driver_of(up, session):
    found = [driver for driver in up.ask("drivers") if any(session in held for held in map(str, driver["sessions"]))]
    return found[0] if found else None
