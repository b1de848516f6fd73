import uuid

import pytest
from livy_client import LivySession
from pyspark.sql import SparkSession


@pytest.fixture
def user():
    return f"u{uuid.uuid4().hex[:8]}"


@pytest.fixture
def spark(cluster, user):
    cluster.wait_warm()
    session = SparkSession.builder.remote(f"{cluster.url}/;user_id={user}").create()
    session.conf.set("berth.test", user)
    session.range(100).createOrReplaceTempView("v")
    yield session
    session.stop()


@pytest.fixture
def livy(cluster):
    cluster.wait_warm()
    session = LivySession(cluster.livy.address).wait_idle()
    yield session
    session.close()
