import json
import signal
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from berth_cluster import Cluster  # noqa: E402
from berth_up import Up, second_catalog  # noqa: E402

# Whoever is started in the background of a shell ignores Ctrl-C, and so does all that it starts, beeline too.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def local_jobs(tmp_path_factory):
    """The directory whose files requests over Livy may name."""
    return tmp_path_factory.mktemp("local jobs")


@pytest.fixture(scope="session")
def up(tmp_path_factory, local_jobs):
    sets = (f"agent.profiles.together.confs={second_catalog(tmp_path_factory.mktemp('second') / 'derby')}",
            "agent.unresponsive-seconds=10", "agent.profiles.together.share=tenant", "agent.profiles.together.warm=0",
            "agent.profiles.roomy.warm=0", "agent.profiles.roomy.heap=3g", "agent.profiles.roomy.memory-bytes=4294967296",
            "agent.profiles.impatient.warm=0", "agent.profiles.impatient.start-seconds=20",
            "agent.profiles.impatient.class-data-sharing=false",
            "agent.profiles.shown.warm=0", 'agent.profiles.shown.confs={"spark.ui.enabled" = "true"}',
            f"broker.livy.local-dirs=[{json.dumps(str(local_jobs))}]")
    # The blank is meant: a data directory may have one, and its path goes into options of JVMs.
    flags = [part for each in sets for part in ("--set", each)]
    berth = Up(tmp_path_factory.mktemp("a berth"), "--warm", "1", *flags)
    yield berth
    berth.stop()


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    """Two brokers, two nodes, three members of etcd. Each test leaves all of them running."""
    made = Cluster(tmp_path_factory.mktemp("cluster"))
    yield made
    made.stop()
