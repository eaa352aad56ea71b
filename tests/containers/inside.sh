#!/usr/bin/env bash
# The second half of run.sh: an engine if it has to be ours, the images, the system of docker-compose.yml, the tests.
set -euo pipefail
export COMPOSE_PROJECT_NAME=macaw-containers MACAW_KAFKA_PORT=29192 MACAW_REGISTRY_PORT=29181
COMPOSE_SECONDS=600
ours=(--filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME")
checkout=$WORK/checkout
engine=$WORK/engine

step() { printf '\n=== %s\n' "$*"; }

fail() {
  echo "FAILED: $*" >&2
  exit 1
}

same() { # what, got, wanted
  [ "$2" = "$3" ] || fail "$1: got '$2', want '$3'"
  echo "$1: $2"
}

if docker compose version >/dev/null 2>&1; then
  program=(docker compose) waiting=(--wait)
else
  program=(docker-compose) waiting=() # Debian has the older program only, which cannot wait
fi

compose() { (cd "$checkout" && timeout "$COMPOSE_SECONDS" "${program[@]}" "$@"); }

up() { # more arguments of `up`
  compose up --detach "${waiting[@]}" "$@" >"$WORK/up.log" 2>&1 || { tail -40 "$WORK/up.log" && fail "compose up $*"; }
  for _ in $(seq 120); do
    docker ps "${ours[@]}" --format '{{.Status}}' | grep -qE 'starting|unhealthy|Restarting' || return 0
    sleep 1
  done
  fail "not all services are healthy after compose up $*"
}

macaw() { # what it says and what compose says come on one stream; the latter is of no interest
  compose run --rm -T macaw "$@" 2>"$WORK/stderr" || { local status=$? && grep '^macaw:' "$WORK/stderr" && return $status; }
}

pay() { macaw invoke tool:bank/transfer --as shopper --params "{\"to\": \"$1\", \"amount\": 25}"; }

balance() { macaw invoke tool:bank/balance --as shopper --params '{"account": "bob"}'; }

container() { compose ps -q "$1"; }

start_engine() {
  rm -rf -- "$engine"
  mkdir -p "$engine"
  ip link set lo up
  export DOCKER_HOST=unix://$engine/docker.sock DOCKER_BUILDKIT=0
  dockerd --default-ulimit nofile=1024:1024 --host "$DOCKER_HOST" --data-root "$engine/data" --exec-root "$engine/exec" \
    --pidfile "$engine/dockerd.pid" >"$engine/dockerd.log" 2>&1 &
  for _ in $(seq 60); do
    docker info >/dev/null 2>&1 && return
    sleep 0.5
  done
  tail -20 "$engine/dockerd.log" >&2
  fail "the engine does not answer"
}

make_standins() {
  local standins=$ROOT/tests/containers/standins
  docker import "$WORK/rootfs.tar" macaw-test/debian >/dev/null
  build python:3.11-slim "$standins/base.Dockerfile" "$WORK/base"
  build apache/kafka:4.3.1 "$standins/kafka.Dockerfile" "$WORK/kafka"
  build apicurio/apicurio-registry:3.0.9 "$standins/registry.Dockerfile" "$WORK/registry-image"
}

build() { # name, Dockerfile, context
  docker build --quiet --tag "$1" --file "$2" "$3" 2>/dev/null | sed "s|^|$1 |"
}

finish() {
  local status=$?
  set +e
  if [ $status != 0 ] && [ -d "$checkout" ]; then
    compose ps
    compose logs --no-color --tail=15 | cut -c 1-300
  fi
  [ -d "$checkout" ] && compose --profile cli --profile registry down --volumes --timeout 20 >/dev/null 2>&1
  if [ -n "$OWN_ENGINE" ] && [ -e "$engine/dockerd.pid" ]; then
    kill "$(cat "$engine/dockerd.pid")"
    wait
    echo "the engine has ended"
  fi
  umount --recursive "$engine"/exec/netns/* 2>/dev/null
  rm -rf -- "$engine" "$checkout"
  [ -n "$OWN_ENGINE" ] || rm -rf -- "$WORK"
  exit $status
}
trap finish EXIT

if [ -n "$OWN_ENGINE" ]; then
  step "an engine of our own, on loopback only"
  start_engine
  make_standins
fi
docker version --format 'engine {{.Server.Version}}, client {{.Client.Version}}'
echo "${program[*]} $("${program[@]}" version --short)"

step "a clean checkout"
rm -rf -- "$checkout"
mkdir -p "$checkout"
(cd "$ROOT" && git ls-files --cached --others --exclude-standard -z | tar --null --files-from=- --create --ignore-failed-read 2>/dev/null) |
  tar --extract --no-same-owner --directory "$checkout"
ls -A "$checkout" | tr '\n' ' '

step "docker compose up"
up --build
sort -u "$WORK/up.log" | grep -E '^(Successfully tagged|Creating .* done)|Created|rror|WARN' || true
compose logs --no-color founding enrolment | sed 's/^Attaching.*//'

step "who it runs as, and who may read the keys"
docker image inspect macaw-streams:local --format 'user {{.Config.User}}, entrypoint {{.Config.Entrypoint}}, {{.Size}} bytes'
compose run --rm -T --entrypoint sh macaw -c 'id -u; find .macaw -name "*.key" -o -name config.json -o -type d | sort | xargs stat -c "%a %u %n"' 2>/dev/null
loose=$(compose run --rm -T --entrypoint find macaw .macaw -perm /077 -name '*.key' 2>/dev/null)
same "keys that others may read" "$loose" ""

step "macaw invoke"
same "paying bob" "$(pay bob)" '{"sent": 25, "to": "bob"}'
if pay eve; then fail "eve was paid"; else echo "exit status $?"; fi
same "bob has" "$(balance)" 25

step "macaw sessions, policy list"
macaw sessions
macaw policy list

step "ports of this machine"
docker ps "${ours[@]}" --format '{{.Names}} {{.Ports}}' | grep -- '->'
same "ports that are open to a network" "$(docker ps "${ours[@]}" --format '{{.Ports}}' | grep -E '(0\.0\.0\.0|::)[]:]*:.*->' || true)" ""

step "monitor-0 crashes: its processes get SIGKILL"
before=$(docker inspect -f '{{.RestartCount}}' "$(container monitor-0)")
compose exec -T monitor-0 sh -c 'kill -9 -1' || true
same "paying bob" "$(pay bob)" '{"sent": 25, "to": "bob"}'
same "restarts of monitor-0" "$(docker inspect -f '{{.RestartCount}}' "$(container monitor-0)")" $((before + 1))

step "monitor-1 is killed and stays dead"
killed=$(container monitor-1)
docker kill "$killed" >/dev/null
same "paying bob" "$(pay bob)" '{"sent": 25, "to": "bob"}'
same "monitor-1 is" "$(docker inspect -f '{{.State.Status}}' "$killed")" exited
same "bob has" "$(balance)" 75

step "monitor-0 is killed, monitor-1 takes over"
up
compose ps
docker kill "$(container monitor-0)" >/dev/null
same "paying bob" "$(pay bob)" '{"sent": 25, "to": "bob"}'

step "everything stops and comes back, with its data"
compose stop --timeout 30 >/dev/null 2>&1
up
same "bob has" "$(balance)" 100
macaw audit export evidence
macaw audit verify evidence --allow-unwitnessed

step "profile registry"
COMPOSE_PROFILES=registry up registry
"$PYTHON" "$ROOT/tests/containers/upload_schema.py" "http://127.0.0.1:$MACAW_REGISTRY_PORT" "$ROOT/schemas/published"

step "docker compose down"
compose --profile cli --profile registry down --volumes --timeout 20 2>&1 | tail -3
same "containers that are left" "$(docker ps -aq "${ours[@]}")" ""

step "the tests' broker in a container (testcontainers)"
export TESTCONTAINERS_RYUK_DISABLED=true MACAW_REQUIRE_REAL_BROKER=1
cd "$ROOT"
"$PYTHON" -m pytest -q tests/containers/engine_checks.py tests/streams/test_broker.py::test_the_shared_broker_answers \
  tests/streams/test_broker.py::test_a_marked_test_gets_a_real_broker tests/streams/test_exactly_once.py \
  tests/producers/test_end_to_end.py
same "containers that are left" "$(docker ps -aq --filter label=org.testcontainers)" ""

step "all of it held"
