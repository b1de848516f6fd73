"""JDBC drivers of Hive and Kyuubi that find their broker through ZooKeeper. Cases: spec of HiveServer2's protocol."""

import pytest
from test_hive_jdbc import DRIVERS, JARS
from zookeeper import TOGETHER, ZooKeeper, config_of, connect

FORMS = ("binary", "http")


@pytest.fixture(scope="module")
def zookeeper(cluster, tmp_path_factory):
    """It lists a broker for each form, in a namespace of the form's name."""
    made = ZooKeeper(tmp_path_factory.mktemp("zookeeper")).start()
    configs = {form: config_of(made, form, f'hs2.zookeeper.transport = "{form}"') for form in FORMS}
    brokers = [cluster.process(f"listed-{form}", "broker", config).start() for form, config in configs.items()]
    for form in FORMS:
        made.wait_listed(form, 1)
    yield made
    for broker in brokers:
        broker.end()
    made.end()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("driver", DRIVERS)
def test_drivers_find_a_broker_and_speak_as_it_says(zookeeper, driver, form):
    """hs2#59, #60"""
    connect(str(JARS / DRIVERS[driver]), zookeeper.url(form, TOGETHER), 2)
