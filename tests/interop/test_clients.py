"""Clients of other versions and languages against a current driver. Cases: spec of Spark Connect, section 7."""

import os
from pathlib import Path

import pytest
from foreign import ROWS, SAID, outlive_their_driver, remote

CLIENTS = Path(os.environ["BERTH_CLIENTS"])
PYTHON = Path(__file__).parent / "python" / "client.py"
GO = [str(CLIENTS / "interop-go")]
RUST = [str(Path(os.environ["CARGO_TARGET_DIR"]) / "debug" / "berth-interop")]


def pyspark(venv):
    return [str(CLIENTS / venv / "bin" / "python"), str(PYTHON)]


# Apache's Rust client 4.2.0 sends the user of the connection string with its confs, but not with its plans: those
# would be two sessions. So it is run without.
NOBODY = {"USER": "", "SPARK_USER": ""}
# For each its command, its user, and what its environment has besides.
PROGRAMS = {
    "pyspark-3.5.7": (pyspark("venv-35"), "ann", {}),
    "pyspark-client-4.0.4": (pyspark("venv-40"), "ann", {}),
    "pyspark-client-rust-4.2.0": (pyspark("venv-rust"), None, NOBODY),
    "go": (GO, "bob", {}),
    "go-reattaching": (GO, "bob", {"REATTACH": "1"}),
    "rust": (RUST, None, NOBODY),
}


@pytest.fixture(scope="module")
def conversation(up):
    """All of them at once, as sessions on one driver, which is killed twice."""
    commands = {name: ([*line, remote(up, user), ROWS], env) for name, (line, user, env) in PROGRAMS.items()}
    return outlive_their_driver(up, commands)


@pytest.mark.parametrize("program", PROGRAMS)
def test_i2_a_client_outlives_its_driver(conversation, program):
    """connect#7, #21, #43, #64, #80: between statements and under a result"""
    said, _ = conversation
    assert said[program] == SAID


def test_i2_the_second_kill_interrupted_a_result_of_each(conversation):
    """connect#64"""
    _, rerun = conversation
    assert rerun == len(PROGRAMS)
