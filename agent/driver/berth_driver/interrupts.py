"""Jobs that Spark goes on with although nobody wants them.

Those whose operation was interrupted:

Spark Connect hands an interrupt to an operation's thread once, and cancels the jobs that the operation has then. What
submits a job just afterwards, that thread or one that makes a stage for it, does not hear of it: the job runs to its
end and holds the session's cores, and no second interrupt reaches it. So a job whose operation was interrupted, or is
not there any more, is cancelled here. Queries that stream outlive the operation that started them by design; Spark
puts their jobs into a group, which jobs of operations are in none of.

And those of operations whose reader is gone. Spark waits five minutes for a client that comes back for its results. For
an operation that a broker runs for a client of another dialect nobody comes back once that broker is dead: what only
it knows how to read is interrupted much sooner, for the session's cores are waited for at the next broker.
"""

import sys
import threading
import time

from berth_driver import spark

LOOK_SECONDS = 1.0
PACKAGE = "org.apache.spark.sql.connect."
# The name that Scala gives to a field that a closure reads.
OBSERVER = PACKAGE.replace(".", "$") + "execution$ExecuteGrpcResponseSender$$grpcObserver"
# What Spark Connect's tags for the jobs of an operation begin with.
OPERATION_TAG = "SparkConnect_OperationTag"
# The broker's tag for operations that no other broker can read.
BOUND_TAG = "berth-broker-bound"
# A broker that lives comes back for its results at once; this is for a network that stutters.
UNREAD_SECONDS = 20.0


class Leftovers:
    """Looks after one driver."""

    def __init__(self, context):
        self.spark = context._jsc.sc()
        self.running = context._jvm.java.util.List.of(context._jvm.org.apache.spark.JobExecutionStatus.RUNNING)
        manager = spark.connect_service(context).executionManager()
        # Private parts of Spark: without them there is nothing to look at, which the driver's log says.
        private = private_fields(context)
        self.executions = private("service.SparkConnectExecutionManager", "executions").get(manager)
        self.runner = private("service.ExecuteHolder", "runner")
        self.states = private("execution.ExecuteThreadRunner", "state")
        self.interrupted = private("execution.ThreadState$", "startedInterrupted").get(None)
        self.started = private("execution.ThreadState$", "started").get(None)
        self.senders = private("service.ExecuteHolder", "grpcResponseSenders")
        self.observer = private("execution.ExecuteGrpcResponseSender", OBSERVER)
        self.seen = frozenset()
        self.unread = {}

    def holders(self):
        """The operations that there are. One may end meanwhile."""
        return [holder for holder in self.executions.values() if holder is not None]

    def state(self, holder):
        return self.states.get(self.runner.get(holder))

    def wanted(self):
        """The tags of the operations that nobody has interrupted."""
        return {holder.jobTag() for holder in self.holders() if not self.state(holder).get().equals(self.interrupted)}

    def calls(self, holder):
        """Of each call that an operation answers, whether its caller is gone. Spark itself finds that out minutes later."""
        observers = [self.observer.get(sender) for sender in elements(self.senders.get(holder))]
        return [observer.isCancelled() for observer in observers]

    def is_unread(self, holder):
        """True once a caller is gone, until another one comes. A call that Spark has ended because of its age says
        nothing: a broker comes back for more when it has room for it.
        """
        calls = self.calls(holder)
        return all(calls) and (any(calls) or holder.operationId() in self.unread)

    def is_bound(self, holder):
        """True of an operation that runs, and whose results are of use to one broker only."""
        return holder.sparkSessionTags().contains(BOUND_TAG) and self.state(holder).get().equals(self.started)

    def end_unread(self, seconds=UNREAD_SECONDS):
        """Interrupts what has run for so long for a broker that is gone; gives the operations."""
        now = time.monotonic()
        unread = {holder.operationId(): holder for holder in self.holders() if self.is_bound(holder) and self.is_unread(holder)}
        self.unread = {operation: self.unread.get(operation, now) for operation in unread}
        ended = [operation for operation, since in self.unread.items() if now - since >= seconds]
        for operation in ended:
            unread[operation].interrupt()
        return ended

    def look(self):
        """Cancels the jobs that belonged to no such operation at the last look already; gives their numbers."""
        jobs = [job for job in elements(self.spark.statusStore().jobsList(self.running)) if job.jobGroup().isEmpty()]
        tags = {job.jobId(): operations_of(job) for job in jobs}
        # The operations after the jobs: one that begins meanwhile is not taken for one that has gone.
        wanted = self.wanted() if any(tags.values()) else set()
        unwanted = frozenset(job for job, of_job in tags.items() if of_job and not of_job & wanted)
        late = self.seen & unwanted
        for job in late:
            self.spark.cancelJob(job)
        self.seen = unwanted
        return late


def private_fields(context):
    def private(name, field):
        found = spark.java_class(context, PACKAGE + name).getDeclaredField(field)
        found.setAccessible(True)
        return found

    return private


def elements(sequence):
    return [sequence.apply(at) for at in range(sequence.size())]


def operations_of(job):
    return {tag for tag in elements(job.jobTags()) if tag.startswith(OPERATION_TAG)}


def watch(context, observer, unread_seconds=UNREAD_SECONDS):
    """Looks after the driver from a thread of its own, for as long as it lives."""
    threading.Thread(target=keep_looking, args=(context, observer, unread_seconds), name="interrupts", daemon=True).start()


def keep_looking(context, observer, unread_seconds):
    observer.exempt()
    try:
        leftovers = Leftovers(context)
    except Exception as error:  # noqa: BLE001 - whatever Spark has in other places, its driver works without this
        say(f"interrupts that Spark misses are not repeated: {error}")
        return
    while True:
        time.sleep(LOOK_SECONDS)
        for job in tried(leftovers.look):
            say(f"cancelled job {job}, whose operation was interrupted")
        for operation in tried(lambda: leftovers.end_unread(unread_seconds)):
            say(f"interrupted {operation}, whose broker is gone")


def tried(look):
    try:
        return look()
    except Exception as error:  # noqa: BLE001 - an operation may end while it is looked at
        say(f"interrupts are looked at again: {error}")
        return ()


def say(line):
    print(f"berth: {line}", file=sys.__stderr__, flush=True)
