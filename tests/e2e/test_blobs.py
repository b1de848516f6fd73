"""Large payloads on S3 and on a full disk. Cases: spec of Spark Connect, section 7."""

import json
import os
import subprocess
import urllib.request
from pathlib import Path

import pytest
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from berth_up import Up, activate, wait_until
from processes import Process, free_ports

SECRET = "sesame"


@pytest.fixture(scope="module")
def bucket(tmp_path_factory):
    """A real S3 server, SeaweedFS, with the bucket `berth`; gives its address."""
    directory = tmp_path_factory.mktemp("s3")
    identities = directory / "identities.json"
    identities.write_text(json.dumps({"identities": [
        {"name": "berth", "actions": ["Read", "Write", "List"],
         "credentials": [{"accessKey": "berth", "secretKey": SECRET}]}]}))
    names = [f"{part}.port{kind}" for part in ("s3", "filer", "volume", "master") for kind in ("", ".grpc")]
    ports = dict(zip(names, free_ports(len(names))))
    server = Process("weed", [
        os.environ.get("BERTH_WEED", "weed"), "server", "-ip=127.0.0.1", "-filer", "-s3", "-volume.max=8",
        "-master.volumeSizeLimitMB=64", "-volume.minFreeSpace=1MiB", "-s3.port.iceberg=0", "-s3.port.lance=0", f"-dir={directory}", f"-s3.config={identities}",
        *(f"-{name}={port}" for name, port in ports.items())], directory).start()

    def made():
        # A bucket is a directory of the server's filer.
        url = f"http://127.0.0.1:{ports['filer.port']}/buckets/berth/"
        try:
            return urllib.request.urlopen(urllib.request.Request(url, method="POST"), timeout=5).status < 300
        except OSError:
            return False

    wait_until(made, 60, f"no bucket, see {server.log}")
    server.wait_for("Start Seaweed S3 API Server")
    yield f"http://127.0.0.1:{ports['s3.port']}"
    server.kill()


@pytest.fixture
def room(tmp_path):
    """A file system of one megabyte, and how to give it another size."""
    place = tmp_path / "room"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "berth-blobs", place], check=True)
    yield place, lambda size: subprocess.run(["mount", "-o", f"remount,size={size}", place], check=True)
    subprocess.run(["umount", "--lazy", place], check=True)


def module(directory, name, size):
    """A Python file of about this size that does not compress to nothing."""
    made = directory / f"{name}.py"
    made.write_text(f"VALUE = {name!r}\nREST = {os.urandom(size // 2).hex()!r}\n")
    return str(made)


def imported(spark, name):
    """What a worker finds in the module, which only an artifact can have brought there."""
    def value(_):
        return __import__(name).VALUE

    from pyspark.sql.functions import udf
    return spark.range(1).select(udf(value, "string")("id")).first()[0]


def mentioning(path):
    """Processes that have this path in their command line."""
    found = []
    for commandline in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = commandline.read_text(errors="replace")
        except OSError:
            continue  # It has just ended.
        if path in words:
            found.append(words.replace("\0", " "))
    return found


def session(berth, user):
    berth.wait_warm()
    made = SparkSession.builder.remote(f"{berth.url}/;user_id={user}").create()
    activate(made)
    return made


def test_an_artifact_on_s3_survives_its_driver(bucket, tmp_path, monkeypatch):
    """connect#29: artifacts come back, from a bucket."""
    flags = [part for name, value in (("bucket", "berth"), ("prefix", "test"), ("region", "here"), ("endpoint", bucket))
             for part in ("--set", f"blobs.s3.{name}={value}")]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "berth")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "guessed")
    with pytest.raises(RuntimeError, match="check the place in .blobs., and Berth's credentials"):
        Up(tmp_path / "refused", *flags)
    assert not mentioning(str(tmp_path / "refused")), "what it had begun is left running"
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    berth = Up(tmp_path / "berth", "--warm", "1", *flags)
    try:
        spark = session(berth, "s3")
        spark.addArtifacts(module(tmp_path, "in_bucket", 3 << 20), pyfile=True)
        assert imported(spark, "in_bucket") == "in_bucket"
        assert not [each for each in (berth.data / "blobs").rglob("*") if each.is_file()], "blobs are in the bucket"
        berth.kill_driver("s3")
        assert imported(spark, "in_bucket") == "in_bucket"
        spark.stop()
    finally:
        berth.stop()


def test_a_full_disk_refuses_uploads_until_there_is_room(room, tmp_path):
    """connect#29: what was taken stays; what cannot be kept is refused in one line, and not half kept."""
    place, resize = room
    berth = Up(tmp_path / "berth", "--warm", "1", "--set", f"blobs.directory={place}")
    try:
        spark = session(berth, "full")
        spark.addArtifacts(module(tmp_path, "small", 400 << 10), pyfile=True)
        large = module(tmp_path, "large", 2 << 20)
        with pytest.raises(Exception, match="no space left; make room and try again") as refused:
            spark.addArtifacts(large, pyfile=True)
        assert "RESOURCE_EXHAUSTED" in str(refused.value)
        said = [line for line in berth.log.read_text().splitlines() if "no space left" in line]
        assert len(said) == 1 and "make room" in said[0], said
        # Nothing is left of the refused one: what fits still goes in.
        spark.addArtifacts(module(tmp_path, "other", 400 << 10), pyfile=True)
        with pytest.raises(PySparkException, match="ModuleNotFoundError"):
            imported(spark, "large")
        resize("16m")
        spark.addArtifacts(large, pyfile=True)
        berth.kill_driver("full")
        assert [imported(spark, name) for name in ("small", "other", "large")] == ["small", "other", "large"]
        spark.stop()
    finally:
        berth.stop()
