"""The catalog over HiveServer2's Thrift protocol. Cases: spec of that protocol, section 10."""

import uuid

import pytest
from hive_probe import SUCCESS, Probe, ttypes

pytestmark = pytest.mark.usefixtures("together")
# Names and types of section 7 of the spec, in its order: text unless it is said. Hive spells KEQ_SEQ so.
NUMBERS = {"s": 7, "i": 3, "h": 2, "y": 1, "b": 0}
SHAPES = {
    "GetCatalogs": "TABLE_CAT",
    "GetSchemas": "TABLE_SCHEM TABLE_CATALOG",
    "GetTables": """TABLE_CAT TABLE_SCHEM TABLE_NAME TABLE_TYPE REMARKS TYPE_CAT TYPE_SCHEM TYPE_NAME
        SELF_REFERENCING_COL_NAME REF_GENERATION""",
    "GetTableTypes": "TABLE_TYPE",
    "GetColumns": """TABLE_CAT TABLE_SCHEM TABLE_NAME COLUMN_NAME DATA_TYPE:i TYPE_NAME COLUMN_SIZE:i BUFFER_LENGTH:y
        DECIMAL_DIGITS:i NUM_PREC_RADIX:i NULLABLE:i REMARKS COLUMN_DEF SQL_DATA_TYPE:i SQL_DATETIME_SUB:i
        CHAR_OCTET_LENGTH:i ORDINAL_POSITION:i IS_NULLABLE SCOPE_CATALOG SCOPE_SCHEMA SCOPE_TABLE SOURCE_DATA_TYPE:h
        IS_AUTO_INCREMENT""",
    "GetFunctions": "FUNCTION_CAT FUNCTION_SCHEM FUNCTION_NAME REMARKS FUNCTION_TYPE:i SPECIFIC_NAME",
    "GetTypeInfo": """TYPE_NAME DATA_TYPE:i PRECISION:i LITERAL_PREFIX LITERAL_SUFFIX CREATE_PARAMS NULLABLE:h
        CASE_SENSITIVE:b SEARCHABLE:h UNSIGNED_ATTRIBUTE:b FIXED_PREC_SCALE:b AUTO_INCREMENT:b LOCAL_TYPE_NAME
        MINIMUM_SCALE:h MAXIMUM_SCALE:h SQL_DATA_TYPE:i SQL_DATETIME_SUB:i NUM_PREC_RADIX:i""",
    "GetPrimaryKeys": "TABLE_CAT TABLE_SCHEM TABLE_NAME COLUMN_NAME KEQ_SEQ:i PK_NAME",
    "GetCrossReference": """PKTABLE_CAT PKTABLE_SCHEM PKTABLE_NAME PKCOLUMN_NAME FKTABLE_CAT FKTABLE_SCHEM FKTABLE_NAME
        FKCOLUMN_NAME KEQ_SEQ:i UPDATE_RULE:i DELETE_RULE:i FK_NAME PK_NAME DEFERRABILITY:i""",
}


def shape(words):
    """Name and type number of each column."""
    named = [(*word.split(":"), "s")[:2] for word in words.split()]
    return [(name, NUMBERS[letter]) for name, letter in named]


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
        f"m map<string,int>, s struct<x:int,y:date>, f float, b boolean, c varchar(9), ti tinyint, si smallint, "
        f"i int, dbl double, bin binary, day date, ntz timestamp_ntz, ch char(3), big decimal(38,0), "
        f"ym interval year to month, dt interval day to second) using parquet comment 'of all'",
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
    few = {
        "GetFunctions": {"functionName": "abs"},
        "GetTables": {"schemaName": database},
        "GetColumns": {"schemaName": database, "tableName": "axb"},
    }
    for call, words in SHAPES.items():
        assert probe.columns(asked(probe, call, **few.get(call, {}))) == shape(words), call
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
        ("ti", -6, "TINYINT", 1, 0, 10, 1, ""),
        ("si", 5, "SMALLINT", 2, 0, 10, 1, ""),
        ("i", 4, "INT", 4, 0, 10, 1, ""),
        ("dbl", 8, "DOUBLE", 8, 15, 10, 1, ""),
        ("bin", -2, "BINARY", None, None, None, 1, ""),
        ("day", 91, "DATE", 4, None, None, 1, ""),
        ("ntz", 93, "TIMESTAMP_NTZ", 8, 6, None, 1, ""),
        ("ch", 12, "STRING", None, None, None, 1, ""),
        ("big", 3, "DECIMAL(38,0)", 38, 0, 10, 1, ""),
        ("ym", 1111, "INTERVAL YEAR TO MONTH", 4, None, None, 1, ""),
        ("dt", 1111, "INTERVAL DAY TO SECOND", 8, None, None, 1, ""),
    ]
    assert [row[16] for row in found] == list(range(1, len(picked) + 1))
    assert {(row[17], row[22]) for row in found} == {("YES", "NO")}
    (one,) = rows(probe, "GetColumns", schemaName=database, tableName="seen", columnName="o%")
    assert one[3] == "one"
    # Spark keeps no such constraint of a table of files.
    (one,) = rows(probe, "GetColumns", schemaName=database, tableName="axb")
    assert (one[3], one[10]) == ("one", 1)
    assert [row[3] for row in rows(probe, "GetColumns", schemaName=database, tableName="own\\_view")] == ["mine"]


TYPE_INFO = [
    ("VOID", 0, None), ("BOOLEAN", 16, None), ("TINYINT", -6, 3), ("SMALLINT", 5, 5), ("INTEGER", 4, 10),
    ("BIGINT", -5, 19), ("FLOAT", 6, 7), ("DOUBLE", 8, 15), ("STRING", 12, None), ("BINARY", -2, None),
    ("DECIMAL", 3, 38), ("DATE", 91, None), ("TIMESTAMP", 93, None), ("ARRAY", 2003, None), ("MAP", 2000, None),
    ("STRUCT", 2002, None), ("INTERVAL", 1111, None)]


def test_functions_and_types(probe):
    """hs2#48"""
    found = rows(probe, "GetFunctions", schemaName="default", functionName="abs")
    assert [row[2] for row in found] == ["abs"] and found[0][5].endswith("Abs")
    types = rows(probe, "GetTypeInfo")
    assert [tuple(row[:3]) for row in types] == TYPE_INFO
    for row in types:
        number, is_number = row[1], row[1] in (-6, -5, 3, 4, 5, 6, 8)
        # Nullable, case-sensitive, searchable, unsigned; scales; radix.
        assert row[6:10] == [1, row[0] == "STRING", 0 if number >= 1111 else 3, not is_number], row
        assert row[13:15] == [0, 0] and row[17] == (10 if is_number else None), row
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
