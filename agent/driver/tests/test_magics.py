"""Livy's magics over values that need no Spark."""

import json

import numpy
from berth_driver import magics, rows
from pyspark.ml.linalg import Vectors
from pyspark.sql import Row


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


def table_of(value):
    """The types of the columns, and the rows."""
    table = magics.as_table(value)[magics.TABLE]
    return [header["type"] for header in table["headers"]], table["data"]


def test_arrays_are_shown():
    """livy#77, #78"""
    array = numpy.array([[1, 2], [3, 4]])
    assert table_of(array) == (["INT_TYPE", "INT_TYPE"], [[1, 2], [3, 4]])
    assert table_of([array[0], array[1]]) == table_of(array)
    assert table_of(numpy.array([1.5, 2.5])) == (["DOUBLE_TYPE"], [[1.5], [2.5]])
    assert table_of([{"a": array[0]}]) == (["ARRAY_TYPE"], [[[1, 2]]])
    assert table_of([Row(tolist=1)]) == (["INT_TYPE"], [[1]])
    assert magics.as_json(array) == {"application/json": [[1, 2], [3, 4]]}
    assert magics.as_json(numpy.array([1, 2]))["application/json"] == [1, 2]


def test_vectors_of_one_column_are_shown_alike():
    """livy#77: an assembler makes sparse ones of some rows."""
    kinds, data = table_of([Row(v=Vectors.dense([1.0, 2.0])), Row(v=Vectors.sparse(2, [1], [3.0]))])
    assert kinds == ["MAP_TYPE"]
    assert data == [[{"type": 1, "size": None, "indices": None, "values": [1.0, 2.0]}],
                    [{"type": 0, "size": 2, "indices": [1], "values": [3.0]}]]
