"""A tenant's limit over all brokers: they count together, in the store."""

from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from berth_cluster import BROKER_CONFIG
from wire import Wire

LIMITED = BROKER_CONFIG + """
default-tenant = "crowded"
[broker.tenants.crowded]
sessions = 3
"""
KEY = "spark.sql.session.timeZone"


@pytest.fixture
def limited(cluster):
    """Addresses of two more brokers, for a tenant that may have three sessions."""
    brokers = [cluster.process(f"limited-{n}", "broker", LIMITED).start() for n in range(2)]
    said = [broker.wait_for(r"Spark Connect +sc://(\S+)") for broker in brokers]
    yield [found.group(1) for found in said]
    for broker in brokers:
        broker.end()


def opened(wire):
    """True for a session, or the code of its refusal."""
    try:
        return bool(wire.config(KEY, timeout=120))
    except grpc.RpcError as error:
        return error.code()


def test_i5_sessions_are_opened_at_two_brokers_at_once(cluster, limited):
    """connect#88: never one more than the limit, and not one less"""
    cluster.wait_warm()
    wires = [Wire(limited[n % 2], f"racer{n}") for n in range(10)]
    with ThreadPoolExecutor(len(wires)) as racers:
        found = list(racers.map(opened, wires))
    assert sorted(map(str, found)) == ["StatusCode.RESOURCE_EXHAUSTED"] * 7 + ["True"] * 3
    for wire in wires:
        wire.end()
    late = Wire(limited[1], "late")
    assert opened(late) is True
    late.end()
    for wire in [*wires, late]:
        wire.close()
