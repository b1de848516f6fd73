"""What goes wrong at the start is said in one line that says what to do."""

import os
import socket
import subprocess
import sys

import pytest

FREE = [part for name in ("connect", "livy", "kyuubi", "hs2", "hs2-http", "admin", "agent") for part in (f"--{name}", "127.0.0.1:0")]


def start(tmp_path, *flags, env=None, user=None):
    """Exit code and output of a `berth up` that ends by itself."""
    command = [os.environ["BERTH_BIN"], "up", "--data-dir", str(tmp_path / "data"), "--log", "error", *FREE, *flags]
    ended = subprocess.run(
        command, env={**os.environ, **(env or {})}, capture_output=True, text=True, timeout=60, user=user)
    return ended.returncode, ended.stderr.strip()


def one_line(said, *parts):
    assert said.startswith("berth: ") and len(said.splitlines()) == 1, said
    for part in parts:
        assert part in said, said


@pytest.fixture
def bare_python(tmp_path):
    """A Python without PySpark."""
    path = tmp_path / "python"
    path.write_text(f"#!/bin/sh\nexec {sys.base_prefix}/bin/python3 -S -I \"$@\"\n")
    path.chmod(0o755)
    return str(path)


def test_spark_is_missing(tmp_path, bare_python):
    code, said = start(tmp_path, "--python", bare_python)
    assert code == 1
    one_line(said, bare_python, "pip install")


def test_python_is_missing(tmp_path):
    code, said = start(tmp_path, "--python", "/nowhere/python")
    assert code == 1
    one_line(said, "/nowhere/python")


def test_java_is_missing_or_too_old(tmp_path):
    java_home = tmp_path / "java"
    (java_home / "bin").mkdir(parents=True)
    code, said = start(tmp_path, "--set", f"agent.java-home={java_home}")
    assert code == 1
    one_line(said, str(java_home))
    java = java_home / "bin" / "java"
    java.write_text("#!/bin/sh\necho 'openjdk version \"1.8.0_402\"' >&2\n")
    java.chmod(0o755)
    code, said = start(tmp_path, "--set", f"agent.java-home={java_home}")
    assert code == 1
    one_line(said, "17")


def test_a_port_is_taken(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = "127.0.0.1:%d" % taken.getsockname()[1]
        code, said = start(tmp_path, "--connect", address)
    assert code == 1
    one_line(said, address, "--connect")


def test_the_data_directory_cannot_be_written(tmp_path):
    (tmp_path / "data").write_text("a file")
    code, said = start(tmp_path)
    assert code == 1
    one_line(said, "data", "--data-dir")


def test_an_unknown_key_is_named_with_what_was_meant(tmp_path):
    config = tmp_path / "berth.toml"
    config.write_text("[broker]\nhold-second = 5\n")
    code, said = start(tmp_path, "--config", str(config))
    assert code == 1
    one_line(said, f"{config}:2", "did you mean 'hold-seconds'")


def test_an_open_listener_without_authentication_is_refused(tmp_path):
    code, said = start(tmp_path, "--connect", "0.0.0.0:0")
    assert code == 1
    one_line(said, "auth.token-file", "listen.insecure")


def test_nobody_answers_the_admin_commands(tmp_path):
    command = [os.environ["BERTH_BIN"], "sessions", "--broker", "http://127.0.0.1:1"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 4
    one_line(ended.stderr.strip(), "127.0.0.1:1", "berth up")
