"""Spark: its start, and what is asked of it through Py4J."""

import os
import re

SERVICE = "org.apache.spark.sql.connect.service.SparkConnectService$"
# Commands that change nothing but the session that ran them.
OWN_STATE = re.compile(
    r"^(Set|Reset|Show\w*|Describe\w*|Explain|Cache\w*|Uncache\w*|ClearCache|Refresh\w*|SetCatalog\w*|SetNamespace|"
    r"SetDatabase|Streaming\w*|CreateFunction|DropFunction)(Command|Exec)?$"
)
COMMAND = re.compile(r"Execute (\w+)")
WRITES = re.compile(
    r"\b((?:Append|Overwrite|Replace|Delete|Merge|Write|Create|Drop|Alter|Truncate|Rename|Atomic)\w*"
    r"(?:Data|Exec|Expression|Dynamic|Select|Table|From|Rows|V2))\b"
)
# What Spark only shows as the name of a job.
SIDE_JOBS = re.compile(r"SparkHadoopWriter|^foreach")


def clear_client_mode():
    """PySpark takes the whole process for a Connect client when it finds one of these."""
    for name in ("SPARK_CONNECT_MODE_ENABLED", "SPARK_REMOTE", "SPARK_LOCAL_REMOTE"):
        os.environ.pop(name, None)


def start(confs):
    """Starts the JVM with the Spark Connect service on a port of its own; gives the context and the port."""
    from pyspark import SparkConf, SparkContext

    conf = SparkConf(loadDefaults=False)
    for key, value in confs.items():
        conf.set(key, value)
    context = SparkContext(conf=conf)
    return context, connect_service(context).localPort()


def connect_service(context):
    return java_class(context, SERVICE).getField("MODULE$").get(None)


def java_class(context, name):
    jvm = context._jvm
    loader = jvm.java.lang.Thread.currentThread().getContextClassLoader()
    return jvm.java.lang.Class.forName(name, True, loader)


def warm_up(port, token, sessions):
    """Does what sessions do, so that the first real one does not pay for class loading and interpreted code."""
    for _ in range(sessions):
        open_and_use(port, token)


def open_and_use(port, token):
    from pyspark.sql import SparkSession

    # The client sends a token without TLS only to a host of this name.
    session = SparkSession.builder.remote(f"sc://localhost:{port}/;token={token};use_ssl=false").create()
    try:
        session.conf.set("spark.sql.session.timeZone", session.conf.get("spark.sql.session.timeZone"))
        session.sql("select id, id * 2 as twice from range(10)").createOrReplaceTempView("berth_warm_up")
        session.sql("select sum(twice) from berth_warm_up").collect()
        session.createDataFrame([(1, "a")], ["n", "s"]).groupBy("s").count().collect()
        session.range(2).mapInPandas(lambda parts: parts, "id long").collect()
        session.sql("show tables").collect()
    finally:
        session.stop()
        clear_client_mode()


def close_connect_session(context, session_id):
    """Ends a session of the Connect service, whoever its user is."""
    manager = connect_service(context).sessionManager()
    active = manager.listActiveSessions()
    for at in range(active.size()):
        info = active.apply(at)
        if info.sessionId() == session_id:
            manager.closeSession(info.key(), False)


def progress(context, group):
    """The share of the group's tasks that are done, 0 to 1."""
    tracker = context.statusTracker()
    done = total = 0
    for job in tracker.getJobIdsForGroup(group):
        info = tracker.getJobInfo(job)
        for stage in info.stageIds if info else []:
            stage_info = tracker.getStageInfo(stage)
            if stage_info:
                done += stage_info.numCompletedTasks
                total += stage_info.numTasks
    return done / total if total else 0.0


class Commands:
    """Which commands and side-effecting jobs ran, read from Spark's own status stores.

    The stores forget the oldest, and are read up to a limit: what ran and was not read counts as an effect.
    """

    PAGE = 200
    MOST = 1000

    def __init__(self, session):
        sc = session.sparkContext._jsc.sc()
        self.bus, self.scheduler, self.jobs = sc.listenerBus(), sc.dagScheduler(), sc.statusStore()
        self.executions = session._jsparkSession.sharedState().statusStore()
        self.counter = execution_counter(session.sparkContext)
        self.mark()

    def mark(self):
        """Begins to look from here."""
        self.first, self.first_job = self.counter() if self.counter else 0, self.scheduler.numTotalJobs()

    def since_mark(self):
        """Effects since the mark, as `spark:Name`."""
        if self.counter is None:
            return {"spark:unknown (this Spark does not tell how much ran)"}
        ran, jobs_ran = self.counter() - self.first, self.scheduler.numTotalJobs() - self.first_job
        self.bus.waitUntilEmpty(5000)
        effects, found = set(), 0
        for execution in self._executions(ran):
            found += 1
            effects |= outside_effects(execution.physicalPlanDescription())
        jobs = self._jobs(jobs_ran)
        for name in (job.name() for job in jobs):
            if SIDE_JOBS.search(name):
                effects.add("spark:" + name.split(" at ")[0] + "@" + name.split(" at ")[-1].split(":")[0])
        if found < ran or len(jobs) < jobs_ran:
            effects.add("spark:unknown (more ran than Spark remembers)")
        return effects

    def _executions(self, ran):
        """The latest that began since the mark, page by page."""
        end, left = self.executions.executionsCount(), min(ran, self.MOST)
        while end and left > 0:
            count = min(end, self.PAGE)
            end, left = end - count, left - count
            page = self.executions.executionsList(end, count)
            new = [each for each in (page.apply(at) for at in range(page.size())) if each.executionId() >= self.first]
            yield from new
            if not new:
                return

    def _jobs(self, ran):
        """The latest that began since the mark, in whatever thread."""
        jobs = self.jobs.jobsList(None) if ran else None
        found = [jobs.apply(at) for at in range(min(jobs.size(), ran, self.MOST))] if ran else []
        return [job for job in found if job.jobId() >= self.first_job]


def execution_counter(context):
    """A function that gives Spark's own count of the executions that have begun, which is private; None without it."""
    try:
        owner = java_class(context, "org.apache.spark.sql.execution.SQLExecution$")
        counter = owner.getDeclaredField("_nextExecutionId")
        counter.setAccessible(True)
        counter.get(None)
    except Exception:
        return None
    return lambda: counter.get(None)


def outside_effects(plan):
    """The commands of a physical plan that reach outside the session."""
    effects = set()
    # The lines after the tree repeat each node with its arguments.
    for name in COMMAND.findall(plan):
        temporary = name == "CreateViewCommand" and "TempView" in plan
        if not OWN_STATE.match(name) and not temporary:
            effects.add(f"spark:{name}")
    effects |= {f"spark:{name}" for name in WRITES.findall(plan)}
    return effects
