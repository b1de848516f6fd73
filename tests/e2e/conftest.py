import uuid

import pytest
from berth_up import activate
from pyspark.sql import SparkSession


@pytest.fixture
def user():
    return f"u{uuid.uuid4().hex[:8]}"


@pytest.fixture
def connect(up):
    """Makes sessions of users; all are stopped at the end."""
    made = []

    def make(user, **parameters):
        words = ";".join(f"{key}={value}" for key, value in {"user_id": user, **parameters}.items())
        session = SparkSession.builder.remote(f"{up.url}/;{words}").create()
        made.append(session)
        activate(session)
        return session

    yield make
    for session in made:
        session.stop()


@pytest.fixture(scope="session")
def kept(up):
    up.wait_warm()
    session = SparkSession.builder.remote(f"{up.url}/;user_id=kept").create()
    yield session
    session.stop()


@pytest.fixture
def shared(kept):
    """A session that tests use after each other: none of them kills its driver or changes it."""
    activate(kept)
    return kept


@pytest.fixture
def spark(up, connect, user):
    up.wait_warm()
    session = connect(user)
    assert session.version.startswith("4.")
    return session


@pytest.fixture(scope="module")
def together(up):
    """A driver that the sessions of a module share over HiveServer2's protocol; it stays between them."""
    from hive_probe import SUCCESS, Probe

    kept = Probe(up.endpoints["hs2"], user="together")
    assert kept.open().status.statusCode == SUCCESS
    assert kept.value("select 1") == 1
    yield
    kept.close_session()
    kept.leave()


@pytest.fixture
def address(up):
    return up.endpoints["hs2"]


@pytest.fixture
def probe(address, user):
    """A session of HiveServer2's protocol."""
    from hive_probe import SUCCESS, Probe

    made = Probe(address, user=user)
    assert made.open().status.statusCode == SUCCESS
    yield made
    made.leave()
