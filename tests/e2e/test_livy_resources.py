"""Resources and jobs of Livy sessions. Cases: spec of Livy."""

import base64
import io
import os
import urllib.error
import urllib.request
import uuid
import zipfile

import pytest
from berth_up import Up, wait_until
from livy_client import LivySession
from pyspark import cloudpickle

# package berth; public class Greeter { public static String greet() { return "hello"; } }
GREETER = (
    "yv66vgAAADQADgoAAgADBwAEDAAFAAYBABBqYXZhL2xhbmcvT2JqZWN0AQAGPGluaXQ+AQADKClWCAAIAQAFaGVsbG8HAAoBAA1iZXJ0aC9HcmVldGVy"
    "AQAEQ29kZQEABWdyZWV0AQAUKClMamF2YS9sYW5nL1N0cmluZzsAIQAJAAIAAAAAAAIAAQAFAAYAAQALAAAAEQABAAEAAAAFKrcAAbEAAAAAAAkADAAN"
    "AAEACwAAAA8AAQAAAAAAAxIHsAAAAAAAAA=="
)
ENDED = ("SUCCEEDED", "FAILED", "CANCELLED")


class Session(LivySession):
    """With the calls of Apache's Python client, as its contract has them."""

    def upload(self, call, name, content, part="file"):
        boundary = uuid.uuid4().hex
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{part}"; filename="{name}"\r\n\r\n'
        body = head.encode() + content + f"\r\n--{boundary}--\r\n".encode()
        kind = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        request = urllib.request.Request(f"{self.base}/{self.id}/{call}", body, kind)
        with urllib.request.urlopen(request, timeout=300) as answer:
            return answer.status, answer.read()

    def add(self, call, uri):
        return self.call("POST", f"/{self.id}/{call}", {"uri": uri})

    def submit_job(self, function, call="submit-job"):
        pickled = base64.b64encode(cloudpickle.dumps(function)).decode()
        return self.call("POST", f"/{self.id}/{call}", {"job": pickled, "jobType": "pyspark"})

    def job(self, number):
        return self.call("GET", f"/{self.id}/jobs/{number}")

    def job_ended(self, number):
        return wait_until(lambda: (seen := self.job(number))["state"] in ENDED and seen, 180, f"job {number} runs on")

    def result(self, function):
        """What a job gives, decoded as the client decodes it."""
        ended = self.job_ended(self.submit_job(function)["id"])
        assert ended["state"] == "SUCCEEDED", ended["error"]
        return decoded(ended)


def decoded(ended):
    return cloudpickle.loads(base64.b64decode(base64.b64decode(ended["result"])))


def kill(up, livy):
    up.wait_warm()
    up.kill_driver(dialect="livy", client_id=str(livy.id))


@pytest.fixture
def livy(up):
    up.wait_warm()
    session = Session(up.endpoints["livy"])
    yield session
    session.close()


def jar(name="Greeter"):
    """A jar with one class of its own, whose name has seven letters."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr(f"berth/{name}.class", base64.b64decode(GREETER).replace(b"Greeter", name.encode()))
    return made.getvalue()


def test_i2_what_was_uploaded_is_there_again_after_the_driver_is_killed(up, livy):
    """livy#87: a module and a file, in order with the statements that use them"""
    before = livy.wait_idle().run("1 + 1")
    assert before == "2"
    assert livy.upload("upload-pyfile", "shapes.py", b"def area(n):\n    return n * n\n") == (200, b"")
    assert livy.run("import shapes\nside = shapes.area(3)\nside") == "9"
    assert livy.upload("upload-file", "../../words.txt", b"hello") == (200, b"")
    read = "from pyspark import SparkFiles\nopen(SparkFiles.get('words.txt')).read()"
    assert livy.run(read) == "'hello'"
    assert livy.run("sc.parallelize([2], 1).map(lambda n: __import__('shapes').area(n)).collect()") == "[4]"
    statements = livy.call("GET", f"/{livy.id}/statements")["statements"]
    assert [each["id"] for each in statements] == list(range(4))
    kill(up, livy)
    assert livy.run("side + shapes.area(1)") == "10"
    assert livy.run(read) == "'hello'"


def test_i2_a_jar_is_on_the_class_path_of_each_driver(up, livy):
    """livy#87"""
    greet = "sc._jvm.berth.Greeter.greet()"
    for _ in range(2):
        assert livy.wait_idle().upload("upload-jar", "greeter.jar", jar(), part="jar") == (200, b"")
    assert livy.run(greet) == "'hello'"
    kill(up, livy)
    assert livy.run(greet) == "'hello'"


def test_i2_a_large_file_arrives_whole_on_each_driver(up, livy):
    """livy#87"""
    content = os.urandom(9 << 20)
    assert livy.wait_idle().upload("upload-file", "large.bin", content)[0] == 200
    digest = "import hashlib\nfrom pyspark import SparkFiles\n" \
             "hashlib.sha256(open(SparkFiles.get('large.bin'), 'rb').read()).hexdigest()"
    first = livy.run(digest)
    kill(up, livy)
    assert livy.run(digest) == first


def test_parts_and_paths_that_are_not_taken(livy):
    """livy#39, #87, #88"""
    livy.wait_idle()
    for call, part, text in (("upload-jar", "file", b"No jar sent!"), ("upload-file", "jar", b"No file sent!")):
        with pytest.raises(urllib.error.HTTPError) as refused:
            livy.upload(call, "a.jar", b"x", part=part)
        assert (refused.value.code, text in refused.value.read()) == (400, True)
    for uri in ("/etc/passwd", "relative.py", "hdfs://"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            livy.add("add-file", uri)
        assert refused.value.code == 400
    assert livy.run("1") == "1"


def test_jobs_share_a_context_and_outlive_their_driver(up, livy):
    """livy#83, #84, #89: submitted while the session starts, as the clients do"""
    sent = livy.submit_job(lambda jc: jc.sc.parallelize([10, 20, 30], 2).sum())
    assert sent == {"id": 1, "state": "SENT", "result": None, "error": None}
    ended = livy.job_ended(1)
    assert (ended["state"], ended["error"], decoded(ended)) == ("SUCCEEDED", None, 60)
    assert livy.job(1) == ended, "a result can be read once only"
    livy.result(lambda jc: jc.set_shared_object("n", 41))
    other = Session.__new__(Session)
    other.base, other.id = livy.base, livy.id
    assert other.call("POST", f"/{livy.id}/connect")["id"] == livy.id
    assert other.result(lambda jc: jc.get_shared_object("n") + 1) == 42
    assert livy.result(lambda jc: (jc.spark_session.range(3).count(), jc.local_tmp_dir != "")) == (3, True)
    assert livy.result(lambda jc: (jc.sql_ctx.sql("select 1").first()[0], jc.hive_ctx is jc.sql_ctx)) == (1, True)
    kill(up, livy)
    assert livy.result(lambda jc: jc.get_shared_object("n")) == 41
    assert livy.job(1) == ended
    assert livy.call("GET", f"/{livy.id}/statements")["total_statements"] == 0


def test_jobs_that_fail_or_are_cancelled(livy):
    """livy#84, #86"""
    livy.wait_idle()
    failed = livy.job_ended(livy.submit_job(lambda jc: 1 / 0)["id"])
    assert (failed["state"], failed["result"]) == ("FAILED", None)
    assert "ZeroDivisionError" in failed["error"]
    assert "berth_driver" not in failed["error"]
    slow = livy.submit_job(lambda jc: __import__("time").sleep(600), call="run-job")["id"]
    wait_until(lambda: livy.job(slow)["state"] == "STARTED", 60, "the job does not start")
    waiting = livy.submit_job(lambda jc: 1)["id"]
    livy.call("POST", f"/{livy.id}/jobs/{waiting}/cancel")
    livy.call("POST", f"/{livy.id}/jobs/{slow}/cancel")
    assert [livy.job_ended(each)["state"] for each in (slow, waiting)] == ["CANCELLED", "CANCELLED"]
    assert livy.job(slow)["state"] == "CANCELLED"
    assert livy.run("1 + 1") == "2"
    for path, code in (("submit-job", 400), ("jobs/99", 404)):
        with pytest.raises(urllib.error.HTTPError) as refused:
            livy.call("POST" if code == 400 else "GET", f"/{livy.id}/{path}", {} if code == 400 else None)
        assert refused.value.code == code


def test_i3_a_job_that_ran_when_its_driver_died_is_not_run_again(up, livy, tmp_path):
    livy.wait_idle()
    target = str(tmp_path / "written")

    def job(jc):
        with open(target, "a") as out:
            out.write("once\n")
        __import__("time").sleep(600)

    number = livy.submit_job(job)["id"]
    wait_until((tmp_path / "written").exists, 60, "the job does not run")
    kill(up, livy)
    ended = livy.job_ended(number)
    assert ended["state"] == "FAILED"
    assert "may or may not" in ended["error"]
    assert livy.run("1") == "1"
    assert (tmp_path / "written").read_text() == "once\n"


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """A directory whose files requests may name, and a Berth that says so."""
    directory = tmp_path_factory.mktemp("opened")
    (directory / "shapes.py").write_text("def area(n):\n    return n * n\n")
    (directory / "more_shapes.py").write_text("def volume(n):\n    return n ** 3\n")
    (directory / "words.txt").write_text("hello")
    (directory / "greeter.jar").write_bytes(jar())
    (directory / "another.jar").write_bytes(jar("Another"))
    with zipfile.ZipFile(directory / "more.zip", "w") as archive:
        archive.writestr("inside.txt", "packed")
    local = f"broker.livy.local-dirs=[{str(directory)!r}]"
    berth = Up(tmp_path_factory.mktemp("berth"), "--warm", "0", "--set", local)
    yield berth, directory
    berth.stop()


def test_i2_a_session_is_created_with_its_files(opened):
    """livy#39, #88: on its first driver and on the next, and what is added while it lives"""
    up, directory = opened
    livy = Session(
        up.endpoints["livy"], jars=[f"{directory}/greeter.jar"], pyFiles=[f"file:{directory}/shapes.py"],
        archives=[f"{directory}/more.zip#more"], conf={"livy.client.http.x": "1"})
    uses = "import os, shapes\nfrom pyspark import SparkFiles\n" \
           "inside = open(os.path.join(SparkFiles.getRootDirectory(), 'more', 'inside.txt')).read()\n" \
           "(shapes.area(2), __import__('more_shapes').volume(2), sc._jvm.berth.Greeter.greet(), " \
           "sc._jvm.berth.Another.greet(), inside, open(SparkFiles.get('words.txt')).read())"
    seen = "(4, 8, 'hello', 'hello', 'packed', 'hello')"
    added = (("add-file", "words.txt"), ("add-pyfile", "more_shapes.py"), ("add-jar", "another.jar"))
    try:
        livy.wait_idle()
        for call, name in added * 2:
            assert livy.add(call, f"{directory}/{name}") == 200
        assert livy.run(uses) == seen
        assert livy.run("berth.Greeter.greet()", kind="spark") == "res0: String = hello\n"
        wanted = {"dialect": "livy", "client_id": str(livy.id)}
        lost = up.session(**wanted)["driver"]
        up.kill_driver(**wanted)
        # A statement that the dying driver still took would be of unknown outcome.
        wait_until(lambda: up.session(**wanted)["driver"] not in (None, "", lost), 180, "the session is not recovered")
        assert livy.run(uses) == seen
        with pytest.raises(urllib.error.HTTPError) as refused:
            livy.add("add-jar", f"{directory}/missing.jar")
        assert (refused.value.code, b"missing.jar" in refused.value.read()) == (400, True)
    finally:
        livy.close()
