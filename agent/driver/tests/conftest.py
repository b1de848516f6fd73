import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))


@pytest.fixture(scope="session")
def driver(tmp_path_factory):
    """A runner with a real Spark. Tests use names of their own in it."""
    from driver import Driver

    made = Driver(tmp_path_factory.mktemp("driver"))
    yield made
    made.stop()
