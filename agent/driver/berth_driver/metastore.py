"""The embedded catalog: the Hive metastore of PySpark's own jars over Derby, on a loopback port.

Hive's own main class would listen on every address; this starts the same service on 127.0.0.1 only.
"""

import os
import signal


def main(settings):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gateway = start_jvm(settings)
    jvm = gateway.jvm
    conf = jvm.org.apache.hadoop.hive.conf.HiveConf()
    for key, value in settings["hive"].items():
        conf.set(key, value)
    metastore = jvm.org.apache.hadoop.hive.metastore
    handler = metastore.HiveMetaStore.newRetryingHMSHandler("berth", conf, True)
    address = jvm.java.net.InetSocketAddress("127.0.0.1", settings["port"])
    listener = jvm.org.apache.thrift.transport.TServerSocket(address)
    arguments = jvm.org.apache.thrift.server.TThreadPoolServer.Args(listener)
    arguments.processor(metastore.TSetIpAddressProcessor(handler))
    server = jvm.org.apache.thrift.server.TThreadPoolServer(arguments)
    announce(settings["port_file"], listener.getServerSocket().getLocalPort())
    server.serve()
    os._exit(3)  # It serves until it fails.


def start_jvm(settings):
    from pyspark import SparkConf
    from pyspark.java_gateway import launch_gateway

    conf = SparkConf(loadDefaults=False, _jvm=None)
    for key, value in settings["confs"].items():
        conf.set(key, value)
    return launch_gateway(conf)


def announce(path, port):
    """Says on which port it listens, all at once."""
    with open(path + ".partial", "w", encoding="utf-8") as file:
        file.write(f"{port}\n")
    os.replace(path + ".partial", path)
