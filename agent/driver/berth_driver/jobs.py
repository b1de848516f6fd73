"""Jobs: functions that a client sends pickled, called with a context that lives as long as the session."""

import base64
import collections
import functools
import json
import os
import pickle
import sys
import tempfile
import threading

from berth_driver import javajobs
from berth_driver.failure import lines_of, name_of, text_of

# The MIME type of a job's result, for the broker alone.
RESULT = "application/x-berth-job"
MAX_SHARED = 100


class JobContext:
    """What a job is called with. The names are those that clients of Livy know."""

    def __init__(self, session, scratch):
        self.sc = session.sparkContext
        self.spark_session = session
        self.streaming_ctx = None
        self._scratch = scratch
        self._directory = None
        self._lock = threading.Lock()
        self._shared = collections.OrderedDict()

    @functools.cached_property
    def sql_ctx(self):
        """What jobs of Spark 1 call."""
        from pyspark.sql import SQLContext

        return SQLContext(self.sc, self.spark_session)

    @property
    def hive_ctx(self):
        return self.sql_ctx

    def get_shared_object(self, name):
        """What a job of this session has set under the name; None if there is nothing."""
        with self._lock:
            if name in self._shared:
                self._shared.move_to_end(name)
            return self._shared.get(name)

    def set_shared_object(self, name, value):
        """Keeps a value for the jobs that follow. Beyond a hundred, those that were not used for longest go."""
        with self._lock:
            self._shared[name] = value
            self._shared.move_to_end(name)
            while len(self._shared) > MAX_SHARED:
                self._shared.popitem(last=False)

    def delete_shared_object(self, name):
        with self._lock:
            self._shared.pop(name, None)

    remove_shared_object = delete_shared_object

    @property
    def local_tmp_dir(self):
        """A directory of this driver; what is in it is lost with it."""
        with self._lock:
            if self._directory is None:
                self._directory = tempfile.mkdtemp(prefix="jobs-", dir=self._scratch)
            return self._directory

    local_tmp_dir_path = local_tmp_dir

    def get_local_tmp_dir_path(self):
        return self.local_tmp_dir

    def create_streaming_ctx(self, batch_duration):
        from pyspark.streaming import StreamingContext

        if self.streaming_ctx is not None:
            raise ValueError("Streaming context already exists")
        self.streaming_ctx = StreamingContext(self.sc, batch_duration)

    def stop_streaming_ctx(self):
        if self.streaming_ctx is None:
            raise ValueError("Cannot stop streaming context. Streaming context is None")
        self.streaming_ctx.stop(stopSparkContext=False)
        self.streaming_ctx = None


class Jobs:
    def __init__(self, session, scratch):
        self.context = JobContext(session, scratch)
        self.java = javajobs.JavaJobs(session, self.context.get_local_tmp_dir_path)
        # Effects that the latest job may have had where nobody looks.
        self.unseen = set()

    def run(self, code):
        """Runs the job that the JSON holds and gives its result, in base64, as the clients of Livy read it."""
        asked = json.loads(code)
        job = base64.b64decode(asked["job"])
        if asked["type"] == "spark":
            self.unseen = {"jvm:job"}
            result = self.java.run(job)
        else:
            self.unseen = set()
            # Python's clients decode twice.
            result = base64.b64encode(self.call(job))
        return {RESULT: result and base64.b64encode(result).decode()}

    def call(self, job):
        """Calls a pickled function; gives its result, pickled."""
        pickler = cloudpickle()
        return pickler.dumps(pickle.loads(job)(self.context))


def cloudpickle():
    """The library that clients pickle with. PySpark brings one of its own, which does where there is no other."""
    try:
        import cloudpickle as found
    except ImportError:
        from pyspark import cloudpickle as found

        # Pickles name its modules.
        sys.modules["cloudpickle"] = found
        sys.modules["cloudpickle.cloudpickle"] = found.cloudpickle
    return found


def is_ours(trace):
    return trace.tb_frame.f_code.co_filename.startswith(os.path.dirname(os.path.abspath(__file__)))


def describe_error(error):
    """Name, text and traceback of what a job raised, without the frames that led to it."""
    trace = error.__traceback__
    while trace is not None and not is_ours(trace):
        trace = trace.tb_next
    while trace is not None and is_ours(trace):
        trace = trace.tb_next
    return name_of(error), text_of(error)[: 1 << 18], [line[: 1 << 18] for line in lines_of(error, trace, 50)]
