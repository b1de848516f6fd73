"""Snapshots of variables, on a real Spark."""

import pytest


@pytest.fixture
def effect(driver, tmp_path):
    """Runs Python that also writes a file; gives its result."""
    return lambda code: driver.run("pyspark", f"open({str(tmp_path / 'out')!r}, 'w').close()\n{code}")


def test_what_a_statement_with_effects_assigned_is_kept(driver, effect):
    driver.show("pyspark", "class Kept:\n    def __init__(self, n):\n        self.n = n\nbase, rows, gone = 5, [1], 1")
    assert "snapshot" not in driver.run("pyspark", "quiet = 1")
    result = effect(
        "import math\nv = {'a': [1]}\nk = Kept(v)\nrows.append(2)\ndf = spark.range(3)\nf = (x for x in [1])\n"
        "def twice(n):\n    return base * n\ndel gone")
    assert result["state"] == "ok", result
    kept = result["snapshot"]
    assert kept["names"] == ["k", "math", "rows", "twice", "v"]
    assert kept["lost"] == ["df", "f"]
    # As on another driver, where the statements before have been run again.
    driver.show("pyspark", "rows, gone = [1], 1\ndel k, v, twice, math")
    assert driver.show("restore", kept["data"]) == "k, math, rows, twice, v"
    shown = driver.show("pyspark", "isinstance(k, Kept), k.n is v, rows, twice(3), math.sqrt(4), 'gone' in globals()")
    assert shown == "(True, True, [1, 2], 15, 2.0, False)"
    # A function sees names as they are, not as they were.
    assert driver.show("pyspark", "base = 7\ntwice(1)") == "7"


def test_what_failed_half_way_is_kept_too(driver, effect):
    result = effect("half = 1\n1 / 0")
    assert (result["state"], result["snapshot"]["names"]) == ("error", ["half"])


def test_a_snapshot_is_bounded(driver, effect):
    result = effect("import os\nbig = os.urandom(6 << 20)\nsmall = [os.urandom(300 << 10) for _ in range(2)]\n"
                    "other = os.urandom(300 << 10)\nlast = 2")
    kept = result["snapshot"]
    assert "big" in kept["lost"] and "last" in kept["names"]
    assert len(kept["data"]) <= 1 << 20
    assert sorted(kept["names"] + kept["lost"]) == ["big", "last", "os", "other", "small"]
