#!/usr/bin/env bash
# Shows Dockerfile, docker-compose.yml and the tests' broker in a container for real: `make test-containers`.
#
# With a docker engine that answers, it is used, and pulls what it lacks. Without one this needs Debian and root: it
# installs the engine from Debian, makes stand-ins for the images (nothing is pulled), and runs the engine in namespaces of
# its own, without any network but loopback. When those end, so do the engine, its containers, bridges and filters.
# MACAW_CONTAINERS_WORK=folder keeps what was fetched for the next time.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
export ROOT=${here%/tests/containers}
export PYTHON=${PYTHON:-$ROOT/.venv/bin/python}

fetch_rootfs() { # a Debian with Java and Python: what both stand-ins begin with
  [ -e "$WORK/rootfs.tar" ] && return
  mmdebstrap --quiet --format=tar --variant=minbase --include=openjdk-17-jre-headless,python3,python3-venv,python3-pip \
    bookworm "$WORK/rootfs.part"
  mv "$WORK/rootfs.part" "$WORK/rootfs.tar"
}

fetch_kafka() { # the jars of the tests, and the one with the command line tools
  mkdir -p "$WORK/kafka/libs"
  (cd "$ROOT" && "$PYTHON" -c '
import os, shutil, sys
from streams.local.jars import choose_cache, fetch_jars
shutil.copytree(fetch_jars(choose_cache(os.environ)), sys.argv[1], dirs_exist_ok=True)' "$WORK/kafka/libs")
  fetch_jar org.apache.kafka:kafka-tools:4.3.1:jar "$WORK/kafka/libs"
  cp "$here"/standins/{run,kafka-broker-api-versions.sh,log4j2.yaml,tools-log4j2.yaml,server.properties} "$WORK/kafka"
}

fetch_registry() {
  fetch_jar io.apicurio:apicurio-registry-app:3.0.9:tar.gz:all "$WORK"
  mkdir -p "$WORK/registry-image/registry"
  tar -xzf "$WORK"/apicurio-registry-app-3.0.9-all.tar.gz -C "$WORK/registry-image/registry" --no-same-owner
}

fetch_jar() { # coordinates, folder
  mvn -q -B -Dstyle.color=never dependency:copy -Dartifact="$1" -DoutputDirectory="$2" -Dmdep.overWriteIfNewer=false
}

fetch_wheels() { # for Debian's Python 3.11, whatever runs this
  mkdir -p "$WORK/base/wheels"
  # shellcheck disable=SC2046 # one word a requirement
  "$PYTHON" -m pip download --quiet --disable-pip-version-check --only-binary=:all: --python-version 3.11 \
    -c "$ROOT/constraints.txt" -d "$WORK/base/wheels" $("$PYTHON" -c '
import sys, tomllib
told = tomllib.load(open(sys.argv[1], "rb"))
project = told["project"]
wanted = (told["build-system"]["requires"], project["dependencies"], project["optional-dependencies"]["server"])
print(*(name.replace(" ", "") for names in wanted for name in names))' "$ROOT/pyproject.toml")
}

install_engine() {
  local missing=()
  command -v dockerd >/dev/null || missing+=(docker.io)
  docker compose version >/dev/null 2>&1 || command -v docker-compose >/dev/null || missing+=(docker-compose)
  command -v mmdebstrap >/dev/null || missing+=(mmdebstrap)
  [ ${#missing[@]} = 0 ] && return
  apt-get update --quiet=2
  # Without a runlevel Debian starts no service: the engine of this script is its own.
  RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install --quiet=2 --yes --no-install-recommends "${missing[@]}"
}

if docker info >/dev/null 2>&1; then
  echo "the engine that answers is used: $(docker version --format '{{.Server.Version}}')"
  OWN_ENGINE="" WORK=$(mktemp -d) exec "$here/inside.sh"
fi
[ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || {
  echo "no docker engine answers, and only root on Debian can start one: start it, or set DOCKER_HOST" >&2
  exit 1
}
WORK=${MACAW_CONTAINERS_WORK:-$(mktemp -d)}
export WORK
[ -n "${MACAW_CONTAINERS_WORK:-}" ] || trap 'rm -rf -- "$WORK"' EXIT
mkdir -p "$WORK"
echo "no engine answers: one is started, with stand-ins for the images"
install_engine
fetch_rootfs
fetch_kafka
fetch_registry
fetch_wheels
OWN_ENGINE=1 unshare --net --mount --pid --fork --kill-child --mount-proc "$here/inside.sh"
