import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from berth_up import Up  # noqa: E402


@pytest.fixture(scope="session")
def up(tmp_path_factory):
    berth = Up(tmp_path_factory.mktemp("berth"), "--warm", "1")
    yield berth
    berth.stop()
