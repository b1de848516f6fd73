"""Drivers on a cluster manager: Spark's own, with executors that are not the driver. Cases: Spark Connect, section 7."""

import pytest
from berth_up import Up, activate
from pyspark.errors import PySparkException
from pyspark.resource import ResourceProfileBuilder, TaskResourceRequests
from pyspark.sql import SparkSession
from standalone import Standalone


@pytest.fixture(scope="module")
def up(tmp_path_factory):
    directory = tmp_path_factory.mktemp("standalone")
    spark = Standalone(directory).start()
    confs = '{"spark.cores.max" = "2", "spark.executor.cores" = "2", "spark.executor.memory" = "512m"}'
    berth = Up(directory / "berth", "--warm", "1", "--master", spark.master,
               "--set", f"agent.profiles.default.confs={confs}")
    yield berth
    berth.stop()
    spark.end()


def two_processors():
    """A profile of tasks only: what a cluster without dynamic allocation can do."""
    return ResourceProfileBuilder().require(TaskResourceRequests().cpus(2)).build



# A function without a name: one that Python can import, the executors would look for in their own files.
twice = lambda parts: (part * 2 for part in parts)  # noqa: E731


def test_a_resource_profile_belongs_to_its_driver(up, user):
    """connect#61"""
    up.wait_warm()
    spark = SparkSession.builder.remote(f"{up.url}/;user_id={user}").create()
    activate(spark)
    profile = two_processors()
    assert [row.id for row in spark.range(3).mapInPandas(twice, "id long", profile=profile).collect()] == [0, 2, 4]
    up.wait_warm()
    up.kill_driver(user)
    assert spark.range(3).count() == 3
    with pytest.raises(PySparkException) as raised:
        spark.range(3).mapInPandas(twice, "id long", profile=profile).collect()
    text = str(raised.value)
    assert "BERTH.PINNED_STATE_LOST" in text and f"resource profile {profile.id}" in text, text
    again = two_processors()
    assert [row.id for row in spark.range(3).mapInPandas(twice, "id long", profile=again).collect()] == [0, 2, 4]
    spark.stop()
