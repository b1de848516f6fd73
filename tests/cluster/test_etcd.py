"""etcd that runs full under a client."""

import json
import shutil
import subprocess
import time

import pytest
from berth_up import wait_until
from pyspark.errors import PySparkException

JUNK = "junk/"
BALLAST = "ballast"


def etcdctl(cluster, *words, endpoint=None, stdin=None):
    endpoints = endpoint or ",".join(cluster.etcd.endpoints)
    command = ["etcdctl", "--endpoints", endpoints, "--command-timeout", "30s", *words]
    return subprocess.run(command, input=stdin, capture_output=True, env={"ETCDCTL_API": "3", "PATH": "/usr/bin:/bin"})


def fill(cluster):
    """Writes until the alarm rises."""
    for n in range(200):
        if etcdctl(cluster, "put", f"{JUNK}{n}", stdin=b"x" * (1 << 20)).returncode:
            break
    wait_until(lambda: b"NOSPACE" in etcdctl(cluster, "alarm", "list").stdout, 30, "etcd never ran full")


def make_room(cluster):
    """What an administrator does."""
    etcdctl(cluster, "del", "--prefix", JUNK)
    (status, *_) = json.loads(etcdctl(cluster, "endpoint", "status", "-w", "json").stdout)
    etcdctl(cluster, "compact", str(status["Status"]["header"]["revision"]))
    for endpoint in cluster.etcd.endpoints:
        assert etcdctl(cluster, "defrag", endpoint=endpoint).returncode == 0
    assert etcdctl(cluster, "alarm", "disarm").returncode == 0


def test_i2_a_full_etcd_refuses_changes_until_there_is_room(cluster, spark, user):
    """Sessions go on with what they have; a change is refused with what to do, at once, and nothing is lost."""
    before = cluster.session(user)
    fill(cluster)
    try:
        assert spark.table("v").count() == 100
        assert spark.conf.get("berth.test") == user
        began = time.monotonic()
        with pytest.raises(PySparkException, match="compact and defragment etcd"):
            spark.conf.set("berth.refused", "1")
        assert time.monotonic() - began < 60, "a client is made to try again and again"
    finally:
        make_room(cluster)
    spark.conf.set("berth.test", "again")
    assert spark.conf.get("berth.test") == "again"
    assert spark.conf.get("berth.refused", "none") == "none"
    now = cluster.session(user)
    assert (now["epoch"], now["driver"]) == (before["epoch"], before["driver"])


@pytest.fixture
def narrow(cluster, tmp_path):
    """The first member with its data on a small disk of its own."""
    member, home = cluster.etcd.members[0], cluster.etcd.directories[0]
    disk = tmp_path / "disk"
    disk.mkdir()
    member.kill()
    # What is there, and room for some files of its log: it allocates 64 MB at a time.
    used = int(subprocess.check_output(["du", "-sm", str(home)]).split()[0])
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={used + 200}m", "tmpfs", str(disk)], check=True)
    subprocess.run(["cp", "-a", f"{home}/.", str(disk)], check=True)
    subprocess.run(["mount", "--bind", str(disk), str(home)], check=True)
    member.start()
    cluster.etcd.wait_up(member)
    yield member, disk
    if member.process.poll() is None:
        member.kill()
    subprocess.run(["umount", str(home)], check=True)
    shutil.rmtree(home)
    (disk / BALLAST).unlink(missing_ok=True)
    subprocess.run(["cp", "-a", str(disk), str(home)], check=True)
    subprocess.run(["umount", str(disk)], check=True)
    member.start()
    cluster.etcd.wait_up(member)
    make_room(cluster)


def test_i2_a_member_whose_disk_is_full_is_missed_by_nobody(cluster, spark, user, narrow):
    """It ends, the others go on; with room again it catches up."""
    member, disk = narrow
    with pytest.raises(OSError), open(disk / BALLAST, "wb", buffering=0) as file:
        while True:
            file.write(b"x" * (1 << 20))
    for n in range(70):
        etcdctl(cluster, "put", f"{JUNK}{n}", stdin=b"x" * (1 << 20))
        if member.process.poll() is not None:
            break
    member.process.wait(timeout=60)
    assert spark.table("v").count() == 100
    spark.conf.set("berth.test", "two are enough")
    assert spark.conf.get("berth.test") == "two are enough"
    # To mend its log, it copies the file that ended in the middle: the ballast alone may not be enough for that.
    subprocess.run(["mount", "-o", "remount,size=2g", str(disk)], check=True)
    member.start()
    cluster.etcd.wait_up(member)
    assert spark.table("v").count() == 100
    assert cluster.session(user)["epoch"] == 1
