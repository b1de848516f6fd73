"""Livy's magics over values that need no Spark."""

import json

from berth_driver import magics, rows


class Frame:
    """As much of a DataFrame or an RDD as the magics look at."""

    def take(self, most):
        return [(at, "x") for at in range(min(most, 1_000_000))]

    def collect(self):
        raise AssertionError("not all of it is wanted")


def data_of(value):
    return magics.as_table(value)[magics.TABLE]["data"]


def test_a_table_has_the_first_thousand_rows_of_what_spark_holds():
    """livy#77"""
    assert data_of(Frame()) == [[at, "x"] for at in range(1000)]


def test_a_table_is_cut_and_does_not_fail_for_its_size():
    """livy#77"""
    cut = data_of([{"a": "x" * 1000} for _ in range(20_000)])
    assert 0 < len(cut) < 20_000
    assert rows.MAX_CHARS * 0.9 < len(json.dumps(cut)) < rows.MAX_CHARS * 1.1
    whole = [[at] for at in range(5000)]
    assert data_of(whole) == whole
