import pytest
from berth_up import Up, wait_until
from collector import Collector
from pyspark.sql import SparkSession

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture
def collector():
    made = Collector()
    yield made
    made.stop()


@pytest.fixture
def traced(tmp_path, collector):
    # What is logged does not decide what is traced.
    up = Up(tmp_path, "--warm", "0", "--log", "warn", "--set", f"telemetry.otlp-endpoint={collector.endpoint}")
    yield up
    up.stop()


def test_one_trace_leads_from_a_clients_call_through_broker_and_store_to_the_agent(traced, collector):
    """connect#10 on the side: parameters of the connection string arrive as headers, the trace context among them."""
    spark = SparkSession.builder.remote(f"{traced.url}/;traceparent=00-{TRACE}-{CALLER}-01").create()
    assert spark.range(3).count() == 3
    spark.stop()
    wanted = {"connect", "place", "reserve", "rebuild", "agent", "store"}
    wait_until(lambda: wanted <= {span.name for span in collector.of(TRACE)}, 30, "parts of the trace are missing")

    spans = {span.id: span for span in collector.of(TRACE)}

    def way(name, **attributes):
        span = next(span for span in spans.values() if span.name == name and attributes.items() <= span.attributes.items())
        names = [span.name]
        while span.parent in spans:
            span = spans[span.parent]
            names.append(span.name)
        assert span.parent == CALLER
        return names

    assert way("agent", rpc="Reserve") == ["agent", "reserve", "place", "connect"]
    assert way("rebuild") == ["rebuild", "place", "connect"]
    assert way("store", call="txn")[-1] == "connect"
    assert all(span.trace == TRACE or span.name != "store" for span in collector.spans), "a store call of no request"
