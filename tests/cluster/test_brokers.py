"""Brokers that die, and etcd that goes away, while a client is being served."""

from berth_up import wait_until
from gate import Gate


def leader(cluster):
    return [row["id"] for row in cluster.ask("brokers") if row["leader"]]


def test_i2_i4_a_result_goes_on_at_the_other_broker(cluster, spark, user, tmp_path):
    """connect#32, #64 with a broker: nothing lost, nothing doubled"""
    gate = Gate(tmp_path)
    gate.register(spark)
    victim = cluster.brokers[0]
    rows = spark.range(0, 800_000, 1, 16).selectExpr("gate(id) as id", "rpad('', 100, 'x') as pad").toLocalIterator()
    seen = [next(rows).id for _ in range(50_000)]
    victim.kill()
    gate.open()
    seen += [row.id for row in rows]
    assert seen == list(range(800_000))
    assert spark.conf.get("berth.test") == user
    assert cluster.session(user)["epoch"] == 1
    victim.start().wait_for("is up")
    wait_until(lambda: len(cluster.ask("brokers")) == 2, 30, "the dead broker's record stays")
    wait_until(lambda: len(leader(cluster)) == 1, 30, "there is no leader")


def test_i2_a_code_statement_outlives_its_broker(cluster, livy):
    livy.run("x = 20")
    statement = livy.submit("import time; time.sleep(8); x + 1")
    cluster.brokers[0].kill()
    assert livy.output(statement)["data"]["text/plain"] == "21"
    assert livy.run("x + 2") == "22"
    cluster.brokers[0].start().wait_for("is up")


def test_i2_each_member_of_etcd_is_restarted_under_a_client(cluster, spark, user):
    for member in cluster.etcd.members:
        member.kill()
        spark.sql(f"set berth.member = {member.name}")
        assert spark.sql("select sum(id) as s from v").first().s == 4950
        member.start()
        cluster.etcd.wait_up(member)
    assert spark.conf.get("berth.member") == "etcd-2"
    assert cluster.session(user)["epoch"] == 1


def test_i2_all_members_of_etcd_are_gone_for_less_than_the_lease(cluster, spark, user):
    for member in cluster.etcd.members:
        member.kill()
    # Reads need no store.
    assert spark.sql("select sum(id) as s from v").first().s == 4950
    for member in cluster.etcd.members:
        member.start()
    for member in cluster.etcd.members:
        cluster.etcd.wait_up(member)
    spark.conf.set("berth.after", "1")
    assert spark.table("v").count() == 100
    assert cluster.session(user)["epoch"] == 1


def test_a_broker_waits_for_an_etcd_that_is_away(cluster, tmp_path):
    from berth_cluster import BROKER_CONFIG
    from processes import Etcd

    away = Etcd(tmp_path, members=1)
    config = BROKER_CONFIG.replace("{endpoints}", f'["{away.endpoints[0]}"]')
    late = cluster.process("late", "broker", config)
    late.start()
    try:
        late.wait_for("etcd does not answer; waiting for it")
        away.start()
        late.wait_for("The broker is up")
    finally:
        late.end()
        away.end()
