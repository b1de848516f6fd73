"""Namespaces within others over HiveServer2's protocol. Cases: spec of HiveServer2's Thrift protocol."""

from pathlib import Path

import pytest
from applications import compile_java
from berth_up import Up, table
from hive_probe import SUCCESS, Probe, ttypes

CATALOG = Path(__file__).parent / "jvm" / "NestedCatalog.java"
INNERMOST = "outer.mid-dle.in.ner"


@pytest.fixture(scope="module")
def probe(tmp_path_factory):
    classes = tmp_path_factory.mktemp("classes")
    compile_java(classes, CATALOG)
    confs = table({"spark.driver.extraClassPath": classes, "spark.sql.catalog.nested": "NestedCatalog"})
    up = Up(tmp_path_factory.mktemp("nested"), "--warm", "0", "--set", f"agent.profiles.default.confs={confs}")
    made = Probe(up.endpoints["hs2"], user="ann")
    assert made.open(profile="default").status.statusCode == SUCCESS
    yield made
    made.close_session()
    made.leave()
    up.stop()


def rows(probe, response):
    assert response.status.statusCode == SUCCESS, response.status.errorMessage
    return probe.rows(response.operationHandle)


def test_namespaces_within_others_and_their_tables_are_listed(probe):
    """hs2#45, #46"""
    def schemas(pattern):
        asked = ttypes.TGetSchemasReq(probe.session, "nested", pattern)
        return sorted(row[0] for row in rows(probe, probe.GetSchemas(asked)))
    assert schemas("%") == ["other", "outer", "outer.mid-dle", INNERMOST]
    assert schemas("outer") == ["outer"]
    assert schemas("%ner") == [INNERMOST]
    tables = rows(probe, probe.GetTables(ttypes.TGetTablesReq(probe.session, "nested", "%", "%")))
    assert ["nested", INNERMOST, "t", "TABLE"] in [row[:4] for row in tables]
    asked = ttypes.TGetColumnsReq(probe.session, "nested", INNERMOST, "t", "%")
    assert [row[:4] for row in rows(probe, probe.GetColumns(asked))] == [["nested", INNERMOST, "t", "one"]]
