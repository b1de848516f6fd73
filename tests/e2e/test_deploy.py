"""The example configurations are ones that this release takes."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

DEPLOY = Path(__file__).parent.parent.parent / "deploy"


@pytest.mark.parametrize("role", ["broker", "agent"])
def test_an_example_is_a_configuration_of_its_role(role):
    line = [os.environ["BERTH_BIN"], "config", "--role", role, "--config", str(DEPLOY / "example" / f"{role}.toml")]
    shown = json.loads(subprocess.run([*line, "--output", "json"], check=True, capture_output=True).stdout)
    origins = {row["key"]: row["origin"] for row in shown}
    assert origins["store.endpoints"].split(":")[0].endswith(f"{role}.toml")


def test_the_dashboard_asks_for_metrics_that_exist():
    dashboard = json.loads((DEPLOY / "grafana" / "tenants.json").read_text())
    asked = " ".join(target["expr"] for panel in dashboard["panels"] for target in panel["targets"])
    names = {re.sub(r"_bucket$", "", name) for name in re.findall(r"berth_[a-z_]+", asked)}
    sources = "".join(path.read_text() for path in DEPLOY.parent.glob("*/src/**/*.rs"))
    assert names and [name for name in names if f'"{name}"' not in sources] == []
