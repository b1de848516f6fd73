"""A PySpark 3.5 client, in a Python of its own, against a 4.x driver."""

import os
import subprocess
import sys
from pathlib import Path

CLIENT = Path(__file__).parent / "client.py"


def test_a_3_5_client_keeps_its_state_over_a_killed_driver(up):
    up.wait_warm()
    client = subprocess.Popen(
        [os.environ["BERTH_CLIENT_PYTHON"], str(CLIENT), f"{up.url}/;user_id=old"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=sys.stderr,
        text=True,
    )
    try:
        assert client.stdout.readline().strip() == "built"
        up.wait_warm()
        up.kill_driver("old")
        client.stdin.write("go\n")
        client.stdin.flush()
        assert client.stdout.readline().strip() == "4950 7"
        assert client.wait(timeout=120) == 0
    finally:
        client.kill()
