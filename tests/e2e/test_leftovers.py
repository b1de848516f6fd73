"""What drivers leave on their node's disk: nothing but logs. Needs root, for a `/tmp` that no other process uses."""

import json
import os
import signal
import sys
from pathlib import Path

import pytest
from berth_up import Up, wait_until
from livy_batch import Held, LivyBatch
from livy_client import LivySession
from pyspark.sql.functions import udf

# Gives what it runs a /tmp of its own, in which the entries that are named are what they were.
ALONE = """set -e
mount -t tmpfs ways /mnt
for way in $1; do mkdir "/mnt/$way"; mount --rbind "/tmp/$way" "/mnt/$way"; done
mount --bind "$2" /tmp
for way in $1; do mkdir -p "/tmp/$way"; mount --rbind "/mnt/$way" "/tmp/$way"; done
shift 2
exec "$@"
"""
TMP = Path("/tmp")


def ways(*paths):
    """The entries of /tmp through which these are reached."""
    below = [Path(path).relative_to(TMP) for path in paths if Path(path).is_relative_to(TMP)]
    return sorted({path.parts[0] for path in below})


def all_ways(data):
    """To everything that a Berth and its drivers need, wherever the machine that tests has put it."""
    needed = [os.environ[name] for name in ("BERTH_BIN", "BERTH__AGENT__CLASS_ARCHIVES") if name in os.environ]
    return ways(data, *needed, sys.prefix, sys.base_prefix, __file__)


@pytest.fixture(scope="module")
def jobs(tmp_path_factory):
    """Where the files of batches are; no temporary directory of the system's."""
    return tmp_path_factory.mktemp("leftovers") / "berth" / "jobs"


@pytest.fixture(scope="module")
def temporary(jobs):
    """What drivers have for /tmp."""
    made = jobs.parents[1] / "tmp"
    made.mkdir(parents=True)
    return made


@pytest.fixture(scope="module")
def up(jobs, temporary):
    data = jobs.parent
    jobs.mkdir(parents=True)
    alone = ["unshare", "--mount", "sh", "-c", ALONE, "sh", " ".join(all_ways(data)), str(temporary)]
    local = f"broker.livy.local-dirs=[{json.dumps(str(jobs))}]"
    berth = Up(data, "--warm", "1", "--set", local, prefix=alone)
    yield berth
    berth.stop()


def others(temporary, data):
    """What is in the drivers' /tmp, without the ways to what was there before."""
    return sorted(path.name for path in temporary.iterdir() if path.name not in all_ways(data))


def state(up):
    return up.data / "agent"


def scratch_of(up, driver):
    """The directories of a driver's own files: Spark's, and the temporary ones."""
    return [state(up) / "drivers" / driver / "local", state(up) / "tmp" / driver[:13]]


def is_gone(up, driver):
    return not any(path.exists() for path in scratch_of(up, driver))


def use(spark):
    """What makes temporary files: a shuffle, compression, a table, an artifact, a Python worker's own."""
    def with_a_file(n: int) -> int:
        import tempfile
        with tempfile.NamedTemporaryFile(delete=False) as file:
            file.write(b"x")
        return n

    spark.udf.register("with_a_file", udf(with_a_file, "int"))
    spark.sql("create table if not exists made (n int) using parquet")
    spark.sql("insert into made values (1)")
    assert spark.sql("select sum(with_a_file(n)) from made group by n").collect()
    assert spark.range(1000).repartition(3).count() == 1000


def test_killed_drivers_leave_no_temporary_files(up, connect, temporary, user):
    up.wait_warm()
    spark = connect(user)
    use(spark)
    driver = up.driver_of(up.session(owner=user))["id"]
    own = scratch_of(up, driver)[1]
    kept = {path.name for path in own.iterdir()}
    assert any(name.startswith("artifacts-") for name in kept), kept
    assert others(temporary, up.data) == []
    up.kill_driver(user)
    use(spark)
    wait_until(lambda: is_gone(up, driver), 60, f"{driver} left files")
    second = up.driver_of(up.session(owner=user))["id"]
    spark.stop()
    wait_until(lambda: is_gone(up, second), 60, f"{second} left files")
    assert others(temporary, up.data) == []


def test_code_has_a_place_for_its_files_that_goes_with_the_driver(up, temporary):
    up.wait_warm()
    livy = LivySession(up.endpoints["livy"]).wait_idle()
    driver = up.driver_of(up.session(dialect="livy", client_id=str(livy.id)))["id"]
    own = scratch_of(up, driver)[1]
    # Python's own sockets are there too: their paths are limited.
    livy.run("import tempfile\nfrom multiprocessing.connection import Listener\nlistener = Listener(family='AF_UNIX')")
    assert livy.run("print(listener.address, tempfile.mkdtemp())").startswith(f"{own}/")
    assert livy.run('println(java.io.File.createTempFile("file", null))', kind="spark").startswith(f"{own}/")
    livy.close()
    wait_until(lambda: is_gone(up, driver), 60, f"{driver} left files")
    assert others(temporary, up.data) == []


def test_a_batch_has_one_too(up, temporary, jobs):
    """Its driver, and the application's own files."""
    place = jobs / "place"
    held = Held(jobs)
    held.file.write_text(f"import tempfile\nopen({str(place)!r}, 'w').write(tempfile.mkdtemp())\n" + held.file.read_text())
    batch = LivyBatch(up.endpoints["livy"], held.file, args=[str(jobs)])
    wait_until(held.runs, 120, "the application does not run")
    driver = up.driver_of(up.session(dialect="livy", client_id=f"batch-{batch.id}"))["id"]
    assert place.read_text().startswith(f"{scratch_of(up, driver)[1]}/")
    batch.delete()
    wait_until(lambda: is_gone(up, driver), 60, f"{driver} left files")
    assert others(temporary, up.data) == []


def test_what_died_with_its_agent_is_removed_by_the_next(up, temporary, user):
    """Last of this module's: the whole Berth is killed."""
    up.wait_warm()
    drivers = [row["id"] for row in up.ask("drivers")]
    pids = [row["jvm_pid"] for row in up.drivers("warm")]
    up.process.send_signal(signal.SIGKILL)
    up.process.wait(timeout=30)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    assert not all(is_gone(up, driver) for driver in drivers)
    again = Up(up.data, "--warm", "0", prefix=up.prefix)
    wait_until(lambda: all(is_gone(up, driver) for driver in drivers), 60, "files of the run before stay")
    again.stop()
    assert others(temporary, up.data) == []
    assert [path.name for path in (state(up) / "tmp").iterdir()] == []
