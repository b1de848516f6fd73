"""Statements of kind spark on a real Spark. Cases: spec of Livy."""

import pytest
from berth_driver import scala_text

TABLE = "application/vnd.livy.table.v1+json"


@pytest.fixture
def scala(driver):
    return lambda code: driver.show("spark", code)


@pytest.fixture
def failing(driver):
    return lambda code: driver.error("spark", code)


def test_the_echo_is_that_of_livy(scala):
    """livy#56: each value of a statement, and what was printed as it was."""
    first = scala("1+1")
    assert first.startswith("res") and first.endswith(": Int = 2\n")
    shown = scala("val x = 1\nval y = 2\nx+y")
    assert shown.startswith("x: Int = 1\ny: Int = 2\nres")
    assert shown.endswith(": Int = 3\n")
    printed = scala('println("a"); print(1)\nSystem.out.println(2)\nval s = "val s: Int"')
    assert printed == "a\n12\ns: String = val s: Int\n"
    shown = scala("var v = 1; lazy val l = 2; val (p, q) = (3, 4)")
    assert shown == "v: Int = 1\nl: Int = <lazy>\np: Int = 3\nq: Int = 4\n"
    assert scala("// only a comment") == ""
    assert scala("") == ""


def test_code_of_many_lines_is_taken_as_written(scala):
    assert scala("spark\n  .range(3)\n  .count() // counted\n").endswith(": Long = 3\n")
    # A companion, code in parentheses, an annotation, and characters of more than one unit.
    shown = scala('case class Q(n: Int)\nobject Q { def two = Q(2) }\n(1 to 2).foreach(print)\n(\n  3)\n'
                  '"\U0001f600"; val z = Q.two.n')
    assert shown.startswith("class Q\nobject Q\n12res")
    assert shown.endswith('String = \U0001f600\nz: Int = 2\n')


def test_errors_have_a_value_lines_and_a_place(failing):
    """livy#63"""
    name, value, trace = failing("val a = 1\n\nval b: Int = {\n  nothere\n}")
    assert (name, value) == ("Error", "<console>:4: error: not found: value nothere")
    assert trace == ["         nothere\n", "         ^\n"]
    name, value, trace = failing("1 / 0")
    assert (name, value) == ("Error", "java.lang.ArithmeticException: / by zero")
    assert all(line.endswith("\n") for line in trace)
    assert failing("for (i <- 1 to 3) {") == ("Error", "incomplete statement", [])
    assert failing("val x = )")[1].startswith("<console>:1: error: illegal start")


def test_what_came_before_an_error_is_done(scala, failing):
    """livy#64"""
    assert failing("val before = 5\nnothere")[0] == "Error"
    assert scala("before").endswith("Int = 5\n")


def test_views_are_common_and_spark_is_one(driver, scala):
    """livy#65, #82"""
    assert scala("spark").endswith("\n")
    scala('spark.range(3).toDF("n").createOrReplaceTempView("common"); sc.setLocalProperty("x", "y")')
    assert driver.show("sql", "select sum(n) from common")["application/json"]["data"] == [[3]]
    assert driver.show("pyspark", "spark.table('common').count()") == "3"
    driver.show("pyspark", "spark.conf.set('spark.sql.shuffle.partitions', '3')")
    assert scala('spark.conf.get("spark.sql.shuffle.partitions")').endswith("String = 3\n")


def test_classes_of_the_interpreter_work_in_jobs(scala):
    scala("case class Row2(a: Int, b: String)\nval add = 10\ndef plus(n: Int) = n + add")
    collected = "sc.parallelize(1 to 3).map(i => Row2(plus(i), i.toString)).collect()"
    assert scala(f"{collected}.map(_.a).sum").endswith("Int = 36\n")
    assert scala('Seq(Row2(1, "x")).toDS().filter(_.a > 0).map(_.a + 1).collect().toList').endswith("List(2)\n")
    assert scala('import org.apache.spark.sql.functions.udf\nval twice = udf((n: Int) => n * 2)\n'
                 'Seq(4).toDF("n").select(twice($"n")).as[Int].head()').endswith("Int = 8\n")


def test_magics_show_the_latest_value(driver, scala, failing):
    """livy#77, #78, #79"""
    shown = scala('val t = Seq((1, "a", 2.5, BigDecimal("1.5"), true, null: String), '
                  '(2, "b", 0.5, BigDecimal(2), false, null))\n%table t')
    kinds = ["BIGINT_TYPE", "STRING_TYPE", "DOUBLE_TYPE", "DECIMAL_TYPE", "BOOLEAN_TYPE", "NULL_TYPE"]
    assert shown == {TABLE: {
        "headers": [{"name": f"_{at}", "type": kind} for at, kind in enumerate(kinds, 1)],
        "data": [[1, "a", 2.5, 1.5, True, None], [2, "b", 0.5, 2, False, None]],
    }}
    assert scala('val m = Map("b" -> List(1), "a" -> Nil)\n%json m') == {"application/json": {"b": [1], "a": []}}
    assert scala("%json") == {"application/json": {"b": [1], "a": []}}
    table = scala('val ms = List(Map("b" -> 1, "a" -> 2))\n%table ms')[TABLE]
    assert ([header["name"] for header in table["headers"]], table["data"]) == (["a", "b"], [[2, 1]])
    assert scala("val r = sc.parallelize(1 to 50)\n%json r")["application/json"] == list(range(1, 11))
    assert scala("val f = spark.range(50).toDF\n%table f")[TABLE]["data"] == [[n] for n in range(10)]
    assert failing("%nope x") == ("UnknownMagic", "Unknown magic command nope", [])
    assert failing("%json nothere") == ("NameError", "Value nothere does not exist", [])
    assert failing('val o = List(List(1), List("a"))\n%table o') == ("TypeError", "table rows have different types", [])


def test_lines_within_something_are_no_magics(scala, failing):
    """livy#77: a magic is a line of its own between statements."""
    assert scala('print("""\n  %d items\n%d more\n""".format(2, 3))') == "\n  2 items\n3 more\n"
    assert scala("val n = (3 + 4\n   % 5)\n/*\n%json n\n*/ // more") == "n: Int = 7\n"
    code = 'val t = """\n%table\n"""\n  %json t\nval u = List(\n 1,\n 2)\n%json\n%json t\n%json u'
    assert scala(code) == {"application/json": [1, 2]}
    assert failing('val open = """\n%json open') == ("Error", "incomplete statement", [])


def test_code_that_cannot_be_read_does_nothing(scala, failing):
    """Whatever magics stand between its lines"""
    scala("var ran = 0")
    assert failing("ran = 1\n%json ran\nval x = )")[1].startswith("<console>:3: error: illegal start")
    assert failing("ran = 2\n%json ran\nval x = (")[1] == "incomplete statement"
    assert scala("ran").endswith("Int = 0\n")
    assert scala("ran = 3\n%json ran\nval y = ran + 1\n%json y") == {"application/json": 4}


def test_names_are_completed(driver, scala):
    """livy#80"""
    scala('val str = ""')
    assert "compare" in driver.complete("spark", "str.", 4)
    assert driver.complete("spark", "str.compareToI", 14) == ["compareToIgnoreCase"]
    assert driver.complete("spark", "nothere.", 8) == []


def test_output_is_bounded(scala):
    assert scala('println("x" * (3 << 20))\nval before = 1') == "x" * (3 << 20) + "\nbefore: Int = 1\n"
    shown = scala('print("x" * (5 << 20))\nprint("y" * (5 << 20))\nval after = 1')
    assert shown.endswith("(output cut by Berth)")
    assert shown.startswith("x" * (5 << 20)) and len(shown) < 9 << 20
    assert scala("after").endswith("Int = 1\n")


@pytest.mark.parametrize("code", [
    "while (true) {}",
    "Thread.sleep(600000)",
    "sc.parallelize(1 to 2, 2).foreach(_ => Thread.sleep(600000))",
])
def test_what_runs_is_cancelled(driver, scala, code):
    """livy#69"""
    statement = driver.submit("spark", code)
    driver.await_frame(lambda frame: frame["t"] == "progress" and frame["id"] == statement)
    driver.tell(t="cancel", id=statement)
    assert driver.result(statement)["state"] == "cancelled"
    assert scala("6 * 7").endswith("Int = 42\n")


def test_positions_are_kept_where_code_is_cut():
    code = "\n\nval x = (1)\n\n@a def f = 2\nclass C\nf"
    trees = [("ValDef", 2, 12, "x"), ("DefDef", 18, 27, ""), ("ClassDef", 28, 35, ""), ("Ident", 36, 37, "")]
    assert scala_text.chunks(code, trees) == [
        (2, "val x = (1)", ["x"], False), (4, "@a def f = 2\nclass C", [], True), (6, "f", [], False)]


def test_code_that_reaches_outside_is_told_from_code_that_does_not(driver, scala):
    def effects(code):
        result = driver.run("spark", code)
        assert result["state"] == "ok", result
        return result["effects"]

    assert effects("val n = 1\nval s = List(1, 2).map(_ + n).mkString(\"-\")\nprintln(s)") == []
    assert effects('case class E(a: Int)\nval d = Seq(E(1)).toDS.map(_.a + 1).collect().sum\n'
                   'sc.parallelize(1 to 3).map(i => s"$i").count()') == []
    assert effects("val now = java.time.Instant.now; val m = math.sqrt(2.0); System.currentTimeMillis") == []
    assert effects('new java.io.File("x").getName') == ["scala:java.io.File"]
    assert "scala:scala.sys.process.package$" in effects('import scala.sys.process._\n"true".!')
    # What only defines has done nothing; what calls it has.
    assert effects('def away() = new java.io.File("x").exists\ndef far() = away()') == []
    assert effects("far()") == ["scala:java.io.File"]
    assert effects("def pure() = 1\npure()") == []
    assert effects('sys.props.put("k", "v")') != []
