"""The catalog over HiveServer2's Thrift protocol. Cases: spec of that protocol, section 10."""

import uuid

import pytest
from hive_probe import SUCCESS, Probe, ttypes

pytestmark = pytest.mark.usefixtures("together")
# Names and type numbers of section 7 of the spec.
TEXT, INT, SHORT, TINY, BOOL = 7, 3, 2, 1, 0
SHAPES = {
    "GetCatalogs": [("TABLE_CAT", TEXT)],
    "GetSchemas": [("TABLE_SCHEM", TEXT), ("TABLE_CATALOG", TEXT)],
    "GetTables": [(name, TEXT) for name in (
        "TABLE_CAT TABLE_SCHEM TABLE_NAME TABLE_TYPE REMARKS TYPE_CAT TYPE_SCHEM TYPE_NAME SELF_REFERENCING_COL_NAME "
        "REF_GENERATION").split()],
    "GetTableTypes": [("TABLE_TYPE", TEXT)],
    "GetFunctions": [("FUNCTION_CAT", TEXT), ("FUNCTION_SCHEM", TEXT), ("FUNCTION_NAME", TEXT), ("REMARKS", TEXT),
                     ("FUNCTION_TYPE", INT), ("SPECIFIC_NAME", TEXT)],
    "GetPrimaryKeys": [("TABLE_CAT", TEXT), ("TABLE_SCHEM", TEXT), ("TABLE_NAME", TEXT), ("COLUMN_NAME", TEXT),
                       ("KEQ_SEQ", INT), ("PK_NAME", TEXT)],
}
COLUMN_TYPES = {"BUFFER_LENGTH": TINY, "SOURCE_DATA_TYPE": SHORT}
COLUMN_INTS = ("DATA_TYPE COLUMN_SIZE DECIMAL_DIGITS NUM_PREC_RADIX NULLABLE SQL_DATA_TYPE SQL_DATETIME_SUB "
               "CHAR_OCTET_LENGTH ORDINAL_POSITION").split()


@pytest.fixture(scope="module")
def probe(up, together):
    made = Probe(up.endpoints["hs2"], user=f"m{uuid.uuid4().hex[:8]}")
    assert made.open().status.statusCode == SUCCESS
    yield made
    made.close_session()
    made.leave()


@pytest.fixture(scope="module")
def database(probe):
    name = f"d{uuid.uuid4().hex[:8]}"
    for statement in (
        f"create database {name}",
        f"create table {name}.a_b (id bigint comment 'key', d decimal(10,2), t string, ts timestamp, arr array<int>, "
        f"m map<string,int>, s struct<x:int,y:date>, f float, b boolean, c varchar(9)) using parquet comment 'of all'",
        f"create table {name}.axb (one int not null) using parquet",
        f"create view {name}.seen as select 1 as one",
        "create or replace temporary view own_view as select 1 as mine",
    ):
        probe.run(statement)
    yield name
    # Hive's own metastore drops it and says that it was not there.
    probe.execute(f"drop database {name} cascade")


def asked(probe, call, **fields):
    response = getattr(probe, call)(getattr(ttypes, f"T{call}Req")(probe.session, **fields))
    assert response.status.statusCode == SUCCESS, response.status.errorMessage
    return response.operationHandle


def rows(probe, call, **fields):
    return probe.rows(asked(probe, call, **fields), rows=100_000)


def test_every_answer_has_its_columns(probe, database):
    """hs2#45, #50"""
    for call, shape in SHAPES.items():
        fields = {"functionName": "abs"} if call == "GetFunctions" else {}
        if call == "GetTables":
            fields = {"schemaName": database}
        assert probe.columns(asked(probe, call, **fields)) == shape, call
    columns = probe.columns(asked(probe, "GetColumns", schemaName=database, tableName="axb"))
    assert len(columns) == 23
    for name, number in columns:
        assert number == COLUMN_TYPES.get(name, INT if name in COLUMN_INTS else TEXT), name
    assert rows(probe, "GetPrimaryKeys", tableName="axb") == []
    assert rows(probe, "GetCrossReference") == []


def test_tables_by_type_and_pattern(probe, database):
    """hs2#46"""
    def names(table=None, types=None):
        found = rows(probe, "GetTables", schemaName=database, tableName=table, tableTypes=types)
        return sorted(row[2] for row in found)

    for everything in (None, "", "*", "%"):
        assert names(everything) == ["a_b", "axb", "own_view", "seen"]
    assert names("a%") == ["a_b", "axb"]
    assert names("a\\_b") == ["a_b"]
    assert names("a_b") == ["a_b", "axb"]
    assert names(types=["TABLE"]) == ["a_b", "axb"]
    assert names(types=["VIEW"]) == ["own_view", "seen"]
    (row,) = rows(probe, "GetTables", schemaName=database, tableName="a\\_b")
    assert row[:5] == ["spark_catalog", database, "a_b", "TABLE", "of all"]


def test_columns_of_every_type(probe, database):
    """hs2#47"""
    found = rows(probe, "GetColumns", catalogName="spark_catalog", schemaName=database, tableName="a\\_b")
    # Name, number of JDBC, type, size, digits, radix, nullable, remarks.
    picked = [(r[3], r[4], r[5], r[6], r[8], r[9], r[10], r[11]) for r in found]
    assert picked == [
        ("id", -5, "BIGINT", 8, 0, 10, 1, "key"),
        ("d", 3, "DECIMAL(10,2)", 10, 2, 10, 1, ""),
        ("t", 12, "STRING", None, None, None, 1, ""),
        ("ts", 93, "TIMESTAMP", 8, 6, None, 1, ""),
        ("arr", 2003, "ARRAY<INT>", None, None, None, 1, ""),
        ("m", 2000, "MAP<STRING, INT>", None, None, None, 1, ""),
        ("s", 2002, "STRUCT<x: INT, y: DATE>", 8, None, None, 1, ""),
        ("f", 6, "FLOAT", 4, 7, 10, 1, ""),
        ("b", 16, "BOOLEAN", 1, 0, None, 1, ""),
        ("c", 12, "STRING", None, None, None, 1, ""),
    ]
    assert [row[16] for row in found] == list(range(1, 11))
    (one,) = rows(probe, "GetColumns", schemaName=database, tableName="seen", columnName="o%")
    assert one[3] == "one"
    assert [row[3] for row in rows(probe, "GetColumns", schemaName=database, tableName="own\\_view")] == ["mine"]


def test_functions_and_types(probe):
    """hs2#48"""
    found = rows(probe, "GetFunctions", schemaName="default", functionName="abs")
    assert [row[2] for row in found] == ["abs"] and found[0][5].endswith("Abs")
    types = rows(probe, "GetTypeInfo")
    assert len(types) == 17 and types[4][:3] == ["INTEGER", 4, 10]
    assert [row[0] for row in rows(probe, "GetTableTypes")] == ["TABLE", "VIEW"]


def test_catalogs(up, probe, database):
    """hs2#49: one more, and a session that begins in it"""
    assert rows(probe, "GetCatalogs") == [["second"], ["spark_catalog"]], "the second one is listed before its first use"
    schemas = [row[0] for row in rows(probe, "GetSchemas")]
    assert database in schemas and "global_temp" in schemas
    assert rows(probe, "GetSchemas", schemaName=f"{database[:-1]}_") == [[database, "spark_catalog"]]
    missing = probe.GetSchemas(ttypes.TGetSchemasReq(probe.session, catalogName="nowhere"))
    assert missing.status.statusCode != SUCCESS and "nowhere" in missing.status.errorMessage
    other = Probe(up.endpoints["hs2"], user=f"m{uuid.uuid4().hex[:8]}")
    assert other.open(conf={"use:catalog": "second", "use:database": "APP"}).status.statusCode == SUCCESS
    assert other.rows(other.run("select current_catalog(), current_schema()")) == [["second", "APP"]]
    other.run(f"create table second.APP.{database} (n int, t varchar(5))")
    listed = rows(other, "GetTables", schemaName="APP", tableName=f"{database}%")
    assert [row[:4] for row in listed] == [["second", "APP", database, "TABLE"]]
    overlay = {"kyuubi.operation.set.current.catalog": "spark_catalog"}
    assert other.execute("_SET_CATALOG", overlay=overlay).status.statusCode == SUCCESS
    assert other.value("select current_catalog()") == "spark_catalog"
    found = rows(other, "GetColumns", catalogName="second", schemaName="APP", tableName=database)
    assert [(row[3], row[5]) for row in found] == [("n", "INT"), ("t", "STRING")]
    other.run(f"drop table second.APP.{database}")
    other.close_session()
    other.leave()
