"""Livy's magics over values of the Scala interpreter."""

import json

from berth_driver import magics
from berth_driver.failure import Failure

MAX_BYTES = 4 << 20
# So many items of an RDD or a Dataset are shown.
MAX_ITEMS = 10
TYPES = ((bool, "BOOLEAN_TYPE"), (int, "BIGINT_TYPE"), (float, "DOUBLE_TYPE"), (str, "STRING_TYPE"),
         (list, "ARRAY_TYPE"), (dict, "MAP_TYPE"))


def magic(scala, name, argument):
    """The MIME bundle of a magic."""
    if not name:
        raise Failure("UnknownMagic", "magic command not specified")
    if name not in ("json", "table"):
        raise Failure("UnknownMagic", f"Unknown magic command {name}")
    found = scala.value(argument)
    if found is None:
        raise Failure("NameError", f"Value {argument} does not exist")
    value = Value(scala.jvm, found)
    if value.is_a(found, "org.apache.spark.sql.Dataset"):
        return dataset(scala.session, found, name)
    return {"application/json": value.json()} if name == "json" else {magics.TABLE: value.table()}


def dataset(session, found, name):
    """A Dataset's first rows, as Python's magics show them."""
    from pyspark.sql import DataFrame

    value = DataFrame(found.toDF(), session).take(MAX_ITEMS)
    return magics.as_json([row.asDict() for row in value]) if name == "json" else magics.as_table(value)


class Value:
    """A value in the JVM, as JSON has it."""

    def __init__(self, jvm, value):
        self.jvm = jvm
        if self.is_a(value, "org.apache.spark.rdd.RDD"):
            value = value.take(MAX_ITEMS)
        self.value = value

    def is_a(self, value, name):
        """True if a value is of the class of that name. What Py4J has made a value of Python is none."""
        if not hasattr(value, "getClass"):
            return False
        loader = self.jvm.java.lang.Thread.currentThread().getContextClassLoader()
        return self.jvm.java.lang.Class.forName(name, False, loader).isInstance(value)

    def json(self):
        jackson = self.jvm.com.fasterxml.jackson
        mapper = jackson.databind.ObjectMapper()
        mapper.registerModule(jackson.module.scala.DefaultScalaModule())
        out = self.jvm.org.apache.hadoop.io.BoundedByteArrayOutputStream(MAX_BYTES)
        try:
            mapper.writeValue(out, self.value)
        except Exception as error:
            if "limit of the buffer" in str(error):
                raise Failure("OutputTooLarge", f"the value has more than {MAX_BYTES} bytes as JSON") from None
            raise
        text = self.jvm.java.lang.String(out.getBuffer(), 0, out.size(), "UTF-8")
        return json.loads(text)

    def table(self):
        """Livy's table: what is no collection of rows is one row, and what is no row is its only cell."""
        rows = self.json()
        first = self.first()
        if first is None:
            rows = [rows]
            first = self.value
        headers, data = {}, []
        for row in rows:
            cells = self.cells(row, first)
            for name, cell in cells:
                merge(headers.setdefault(name, {"name": name, "type": "NULL_TYPE"}), cell)
            data.append([cell for _, cell in cells])
        for header in headers.values():
            self.refine(header, first)
        return {"headers": list(headers.values()), "data": data}

    def first(self):
        """The first item of a collection, `()` of an empty one; None if the value is none."""
        if type(self.value).__name__ == "JavaArray":
            return self.value[0] if len(self.value) else ()
        if self.is_a(self.value, "scala.collection.Iterable") and not self.is_a(self.value, "scala.collection.Map"):
            return self.value.head() if self.value.nonEmpty() else ()
        return None

    def cells(self, row, first):
        if isinstance(row, dict):
            names = sorted(row) if self.is_a(first, "scala.collection.Map") else list(row)
            return [(name, row[name]) for name in names]
        if not isinstance(row, list):
            return [("0", row)]
        if self.is_product(first):
            return [(f"_{index + 1}", cell) for index, cell in enumerate(row)]
        return [(str(index), cell) for index, cell in enumerate(row)]

    def refine(self, header, first):
        """JSON does not tell decimals from other numbers."""
        if header["type"] not in ("DOUBLE_TYPE", "BIGINT_TYPE"):
            return
        try:
            cell = self.cell(first, header["name"])
        except ValueError:  # Py4J takes Scala's decimals for integers, and then cannot read them.
            header["type"] = "DECIMAL_TYPE"
            return
        if type(cell).__name__ == "Decimal":
            header["type"] = "DECIMAL_TYPE"

    def cell(self, row, name):
        if self.is_product(row):
            names = [row.productElementName(at) for at in range(row.productArity())]
            return row.productElement(names.index(name))
        if self.is_a(row, "scala.collection.Map"):
            return row.apply(name)
        return row.apply(int(name)) if self.is_a(row, "scala.collection.Seq") else row

    def is_product(self, row):
        return self.is_a(row, "scala.Product") and not self.is_a(row, "scala.collection.Iterable")


def merge(header, cell):
    kind = next((name for types, name in TYPES if isinstance(cell, types)), "NULL_TYPE")
    if kind == "NULL_TYPE" or header["type"] == kind:
        return
    if {kind, header["type"]} == {"BIGINT_TYPE", "DOUBLE_TYPE"}:
        kind = "DOUBLE_TYPE"  # Whole decimals among others.
    elif header["type"] != "NULL_TYPE":
        raise Failure("TypeError", "table rows have different types")
    header["type"] = kind
