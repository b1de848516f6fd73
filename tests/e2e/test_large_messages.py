"""Rows, plans and uploads as large as they may be. Cases: spec of Spark Connect, section 7."""

import pandas
import pytest
from berth_up import activate
from pyspark.sql import SparkSession
from wire import Wire

MIB = 1 << 20
USER = "roomy"


@pytest.fixture(scope="module")
def roomy(up):
    """A session whose driver has room for several copies of what it is given."""
    session = SparkSession.builder.remote(f"{up.url}/;user_id={USER};x-berth-profile=roomy").create()
    activate(session)
    yield session
    session.stop()


def test_rows_of_hundreds_of_mebibytes(roomy):
    """connect#19: more than a message may have, so that it comes in chunks"""
    (row,) = roomy.sql(f"select repeat('0123456789abcdef', {200 * MIB // 16}) as t").collect()
    assert len(row.t) == 200 * MIB
    assert row.t.startswith("0123456789abcdef") and row.t.count("f") == 200 * MIB // 16


def test_an_answer_just_below_the_limit_passes(up, roomy):
    """connect#13: of a client that knows no chunks"""
    wire = Wire(up.endpoints["connect"], USER, roomy.session_id)
    answers = list(wire.execute(wire.plan(f"select repeat('x', {127 * MIB}) as t")))
    (batch,) = [each.arrow_batch for each in answers if each.HasField("arrow_batch")]
    assert 127 * MIB < len(batch.data) < 128 * MIB and batch.row_count == 1
    assert answers[-1].HasField("result_complete")
    wire.close()


def test_i2_views_over_data_of_the_client_are_back(up, roomy):
    """connect#44: 1 MiB within the plan, 200 MiB uploaded before it"""
    sizes = {"small": 1, "large": 200}
    for view, mebibytes in sizes.items():
        frame = pandas.DataFrame({"n": range(mebibytes), "t": [chr(97 + n % 26) * MIB for n in range(mebibytes)]})
        roomy.createDataFrame(frame).createOrReplaceTempView(view)
    summed = "select count(*) as rows, sum(length(t)) as size, sum(n) as n, max(substr(t, 1, 3)) as last from "
    expected = {view: roomy.sql(summed + view).first() for view in sizes}
    assert {view: row.size for view, row in expected.items()} == {view: count * MIB for view, count in sizes.items()}
    up.kill_driver(USER)
    assert {view: roomy.sql(summed + view).first() for view in sizes} == expected
