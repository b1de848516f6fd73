#!/usr/bin/env bash
# Installs what the build and the tests need and is missing, from Debian and PyPI alone. Idempotent.
set -euo pipefail
cache=${CACHE:?set CACHE to a directory}
mkdir -p "$cache"

packages=()
command -v protoc >/dev/null || packages+=(protobuf-compiler)
command -v java >/dev/null || packages+=(openjdk-17-jre-headless)
command -v etcd >/dev/null || packages+=(etcd-server)
command -v ip >/dev/null || packages+=(iproute2)
command -v cc >/dev/null || packages+=(gcc libc6-dev)
python3 -c 'import venv, ensurepip' 2>/dev/null || packages+=(python3-venv)
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
  echo "deps: making $dir ($wanted); PySpark is a download of some 400 MB"
  rm -rf "$dir"
  python3 -m venv "$dir"
  "$dir/bin/python" -m pip install -q "$@"
  echo "$wanted" > "$dir/.wanted"
}
venv venv-43 'pyspark[connect]==4.3.0' 'pandas<3' zstandard==0.25.0 pytest==8.4.2 opentelemetry-proto==1.45.2
venv venv-35 'pyspark[connect]==3.5.7' 'pandas<3' pyarrow==17.0.0 setuptools==80.9.0
