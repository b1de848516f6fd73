"""Statements of the kinds pyspark, sql and sparkr on a real Spark. Cases: spec of Livy."""

import base64
import json

import pytest

TABLE = "application/vnd.livy.table.v1+json"


@pytest.fixture
def python(driver):
    return lambda code: driver.show("pyspark", code)


@pytest.fixture
def sql(driver):
    return lambda code: driver.show("sql", code)["application/json"]


def test_python_shows_its_last_expression_and_what_it_printed(python):
    """livy#57"""
    assert python("1+1") == "2"
    assert python("x = 1") == ""
    assert python("print(1)\r\nprint(1)") == "1\n1"
    assert python("import sys\nprint('late', file=sys.stderr)\nprint('early')\n1\n2") == "early\n2\nlate"
    assert python("import warnings\nwarnings.warn('for the log')\n3") == "3"


def test_a_name_error_at_the_top_has_two_lines(driver):
    """livy#62, #64; code that cannot be read does nothing."""
    assert driver.error("pyspark", "nothere") == (
        "NameError", "name 'nothere' is not defined",
        ["Traceback (most recent call last):\n", "NameError: name 'nothere' is not defined\n"])
    name, _, trace = driver.error("pyspark", "def f():\n    return nothere\nf()")
    assert name == "NameError" and any("line 2, in f" in line for line in trace)
    assert driver.error("pyspark", "done = 1\ndef (:")[0] == "SyntaxError"
    assert driver.error("pyspark", "done")[0] == "NameError"


def test_the_context_of_spark_1_has_its_own_calls(python):
    """Those that a session has not are what old notebooks call; the rest it shares with the session."""
    python("sqlContext.registerDataFrameAsTable(sqlContext.range(3), 'three')")
    assert python("sqlContext.tables().count() >= 1, spark.table('three').count()") == "(True, 3)"
    python("sqlContext.setConf('spark.sql.shuffle.partitions', '7')")
    assert python("spark.conf.get('spark.sql.shuffle.partitions'), sqlContext.sql('select 1').first()[0]") == "('7', 1)"
    python("spark.conf.unset('spark.sql.shuffle.partitions')\nspark.catalog.dropTempView('three')")


def test_python_magics(driver, python):
    """livy#77, #78, #79"""
    table = python("rows = [(1, None, 2.5), (2, 'a', None)]\n%table rows")[TABLE]
    assert table == {
        "headers": [
            {"name": str(at), "type": kind} for at, kind in enumerate(("INT_TYPE", "STRING_TYPE", "DOUBLE_TYPE"))],
        "data": [[1, None, 2.5], [2, "a", None]],
    }
    code = ("import datetime, decimal\nd = [dict(d=datetime.date(2020, 1, 2), n=decimal.Decimal('1.5'), "
            "t=datetime.datetime(2020, 1, 2), l=[1], m={}, b=True, z=None)]\n%table d")
    kinds = {header["name"]: header["type"] for header in python(code)[TABLE]["headers"]}
    assert kinds == {
        "b": "BOOLEAN_TYPE", "d": "DATE_TYPE", "l": "ARRAY_TYPE", "m": "MAP_TYPE", "n": "DECIMAL_TYPE",
        "t": "TIMESTAMP_TYPE", "z": "NULL_TYPE",
    }
    assert python("frame = spark.range(3)\n%table frame")[TABLE]["data"] == [[0], [1], [2]]
    assert python("some = sc.parallelize([{'a': 1}])\n%table some")[TABLE]["data"] == [[1]]
    assert python("a = {'k': [1, None]}\n%json a\nb = [\n 2]\n%json b") == {"application/json": [2]}
    assert driver.error("pyspark", "%nope a") == ("UnknownMagic", "unknown magic command 'nope'", [])
    assert driver.error("pyspark", "a = 1\n%json a\n1/0")[2][1].startswith('  File "<statement-')


def test_halves_of_characters_are_replaced(driver, python, tmp_path):
    """Nobody but Python reads them."""
    assert python("print('a\\ud800b', '\\ud83d\\ude00')") == "a\ufffdb \U0001f600"
    assert python("half = {'\\udfff': ['\\ud800']}\n%json half") == {"application/json": {"\ufffd": ["\ufffd"]}}
    assert driver.error("pyspark", "raise ValueError('\\ud800')")[1] == "\ufffd"
    result = driver.run("pyspark", f"globals()['\\ud800'] = 1\nopen('{tmp_path}/\\udc80', 'w').close()")
    assert (result["snapshot"]["names"], result["effects"]) == (["\ufffd"], [f"file:{tmp_path}/\ufffd"])
    python("class Half: pass\nsetattr(Half, 'x\\ud800', 1)")
    assert driver.complete("pyspark", "Half.x", 6) == ["Half.x\ufffd"]


def test_what_is_no_json_is_an_error_and_the_session_goes_on(driver, python):
    name, value, _ = driver.error("pyspark", "deep = []\nfor _ in range(150): deep = [deep]\n%json deep")
    assert name == "OutputNotJson" and "levels" in value
    assert python("len(deep)") == "1"


def test_an_error_without_a_text_is_one_and_the_session_goes_on(driver, python):
    """livy#64"""
    name, value, trace = driver.error(
        "pyspark", "class ApiError(Exception):\n    def __str__(self):\n        return 404\nraise ApiError")
    assert (name, value) == ("ApiError", "<exception str() failed>")
    assert trace[0].startswith("Traceback")
    assert python("1 + 1") == "2"


def test_what_describes_an_error_is_cancelled(driver, python):
    """livy#69: its text is made by code of the user's."""
    statement = driver.submit(
        "pyspark", "class Slow(Exception):\n    def __str__(self):\n        while True: pass\nraise Slow")
    driver.await_frame(lambda frame: frame["t"] == "progress" and frame["id"] == statement)
    driver.tell(t="cancel", id=statement)
    assert driver.result(statement)["state"] == "cancelled"
    assert python("2 + 2") == "4"


def test_a_plot_is_an_image_and_nothing_else(python):
    """livy#78"""
    bundle = python("import matplotlib.pyplot as plt\nplt.plot([1, 2])\n%matplot plt")
    assert list(bundle) == ["image/png"]
    assert base64.b64decode(bundle["image/png"]).startswith(b"\x89PNG")


def test_a_plot_of_something_else_says_what_is_wanted(driver):
    assert driver.error("pyspark", "p = 1\n%matplot p")[:2] == (
        "TypeError", "%matplot wants the module matplotlib.pyplot, as in: %matplot plt")


def test_rows_of_sql_have_their_schema(sql):
    """livy#59"""
    result = sql("select 1 as n, 'a' as s, null as z")
    assert result["schema"]["type"] == "struct"
    assert result["schema"]["fields"][0] == {"name": "n", "type": "integer", "nullable": False, "metadata": {}}
    assert result["data"] == [[1, "a", None]]


@pytest.mark.parametrize("expression, value", [
    ("tinyint(1)", 1), ("9007199254740993", 9007199254740993), ("1.50", 1.5), ("cast(3 as decimal(38, 2))", 3),
    # A double would lose digits of these.
    ("1234567890123.123456789", "1234567890123.123456789"), ("123456789012345678901", "123456789012345678901"),
    ("double('NaN')", "NaN"), ("float('-inf')", "-Infinity"), ("1e300D", 1e300), ("true", True), ("'\u00e4'", "\u00e4"),
    ("date'2020-01-02'", "2020-01-02"), ("timestamp'2020-01-02 03:04:05+00:00'", "2020-01-02T03:04:05Z"),
    ("date'0001-01-01'", "0001-01-01"), ("date'-0044-03-15'", "-0044-03-15"), ("date'+10000-01-01'", "+10000-01-01"),
    ("timestamp'0001-01-01 00:00:00Z'", "0001-01-01T00:00:00Z"),
    ("timestamp'9999-12-31 23:59:59.999999Z'", "9999-12-31T23:59:59.999999Z"),
    ("timestamp'1969-12-31 23:59:59.5Z'", "1969-12-31T23:59:59.500000Z"),
    ("timestamp_ntz'2020-01-02 03:04:05.5'", "2020-01-02T03:04:05.500000"), ("X'00ff'", "AP8="),
    ("array(1.5, null)", [1.5, None]), ("map(1, date'2020-01-02')", {"1": "2020-01-02"}),
    ("named_struct('a', named_struct('b', timestamp'2020-01-02 03:04:05Z'))", {"a": {"b": "2020-01-02T03:04:05Z"}}),
    ("interval '1' day", "INTERVAL '1' DAY"), ("interval '1-2' year to month", "INTERVAL '1-2' YEAR TO MONTH"),
    ("make_interval(1, 2, 3)", "1 years 2 months 21 days"), ("parse_json('{\"a\": [1]}')", {"a": [1]}),
    ("time'12:01:02'", "12:01:02"), ("array()", []), ("cast(null as array<int>)", None),
])
def test_every_type_of_sql_is_json(sql, expression, value):
    """livy#59"""
    assert sql(f"select {expression} as v")["data"] == [[value]]


VECTORS = """
from pyspark.ml.feature import VectorAssembler
from pyspark.ml.linalg import Vectors
rows = [(1, Vectors.dense([1.5, 2.0])), (2, Vectors.sparse(3, [1], [4.0])), (3, Vectors.dense([7.0])), (4, None)]
spark.createDataFrame(rows, ["id", "v"]).createOrReplaceTempView("vectors")
assembler = VectorAssembler(inputCols=["id", "twice"], outputCol="v")
assembler.transform(spark.sql("select id, id * 2 as twice from range(1, 2)")).createOrReplaceTempView("assembled")
"""


def test_vectors_are_what_their_schema_says(driver, python, sql):
    """livy#59"""
    python(VECTORS)
    result = sql("select v, array(v) as a, true as t, date'2020-01-02' as d from vectors order by id")
    field = result["schema"]["fields"][0]["type"]
    names = [field["name"] for field in field["sqlType"]["fields"]]
    found = [dict(v) if (v := row[0]) else v for row in result["data"]]
    assert found == [
        dict(zip(names, values)) if values else None
        for values in ((1, None, None, [1.5, 2.0]), (0, 3, [1], [4.0]), (1, None, None, [7.0]), None)]
    assert [row[1:] for row in result["data"]] == [[[v], True, "2020-01-02"] for v in found]
    assert sql("select v from assembled")["data"][0][0]["values"] == [1.0, 2.0]
    table = python("shown = spark.table('vectors').orderBy('id')\n%table shown")[TABLE]
    assert [header["type"] for header in table["headers"]] == ["INT_TYPE", "MAP_TYPE"]
    assert [row[1] for row in table["data"]] == found


def test_sql_is_cut_at_a_thousand_rows(sql):
    """livy#60"""
    assert [len(sql(f"select * from range({count})")["data"]) for count in (0, 999, 1500)] == [0, 999, 1000]
    assert sql("select 1 as a, 2 as a, interval '1' day as a")["data"] == [[1, 2, "INTERVAL '1' DAY"]]


def test_sql_is_cut_where_its_session_says(driver):
    """livy#60"""
    for rows, found in ((0, 0), (3, 3), (5000, 2000)):
        query = json.dumps({"sql": "select * from range(2000)", "rows": rows})
        assert len(driver.show("query", query)["application/json"]["data"]) == found


def test_errors_of_sql_have_the_message_and_frames(driver):
    """livy#61; several queries are an error."""
    name, value, trace = driver.error("sql", "select * from nothere")
    assert name == "Error" and value.startswith("[TABLE_OR_VIEW_NOT_FOUND]")
    assert trace and all(line.startswith("at ") for line in trace)
    assert driver.error("sql", "select 1; select 2")[1].startswith("[PARSE_SYNTAX_ERROR]")


def test_r_says_that_it_is_not_there(driver):
    """livy#58: Berth has no R."""
    name, value, trace = driver.error("sparkr", "1+2")
    assert (name, trace) == ("InterpreterError", [])
    assert "use pyspark, spark or sql" in value
