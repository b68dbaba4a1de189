#!/usr/bin/env bash
# A Docker Engine for the tests.
#
#   scripts/engine.sh start   prints the DOCKER_HOST to use, and "ours" if we started it
#   scripts/engine.sh stop    ends the one we started, and no other
#
# An engine that answers already, by $DOCKER_HOST or in the usual place, is used and
# left as it is. Otherwise, as root, one is started with its own data, socket and
# process id: images stay in .tools, the rest in /run. dockerd writes firewall rules and
# lets nothing be forwarded any more; once it has stopped, they are as they were before.
set -euo pipefail
cd "$(dirname "$0")/.."
data=$PWD/.tools/docker-engine
run=/run/waykeeper-engine-$(printf %s "$PWD" | cksum | cut -d' ' -f1)
socket=unix://$run/docker.sock

answers() { docker ${1:+-H "$1"} info --format '{{.ServerVersion}}' >/dev/null 2>&1; }
alive() { [ -s "$run/docker.pid" ] && kill -0 "$(cat "$run/docker.pid")" 2>/dev/null; }

# What dockerd changes and does not change back: whether and what the host forwards.
remember() {
  local tables
  cat /proc/sys/net/ipv4/ip_forward >"$run/ip_forward"
  for tables in iptables ip6tables; do
    command -v "$tables" >/dev/null || continue
    "$tables" -S FORWARD 2>/dev/null | sed -n 's/^-P FORWARD //p' >"$run/$tables.policy" || true
  done
}

# Removes the rules and chains that name Docker or its bridge, and gives back what was remembered.
restore() {
  local tables table rule chain policy
  for tables in iptables ip6tables; do
    [ -s "$run/$tables.policy" ] || continue
    policy=$(cat "$run/$tables.policy")
    "$tables" -P FORWARD "$policy" || true
    for table in filter nat; do
      # A table that is not there, or without such rules, has nothing to give back.
      "$tables" -t "$table" -S 2>/dev/null | sed -nE '/^-A .*(DOCKER|docker0|172\.1[78]\.)/s/^-A /-D /p' |
        while read -r rule; do
          # shellcheck disable=SC2086
          "$tables" -t "$table" $rule 2>/dev/null || true
        done || true
      "$tables" -t "$table" -S 2>/dev/null | sed -n 's/^-N \(DOCKER[^ ]*\).*/\1/p' |
        while read -r chain; do
          "$tables" -t "$table" -F "$chain" 2>/dev/null && "$tables" -t "$table" -X "$chain" 2>/dev/null || true
        done || true
    done
  done
  [ ! -s "$run/ip_forward" ] || cat "$run/ip_forward" >/proc/sys/net/ipv4/ip_forward || true
}

start() {
  command -v docker >/dev/null || { echo "engine: docker is missing; run make tools, or install Docker" >&2; exit 1; }
  if [ -n "${DOCKER_HOST:-}" ]; then
    answers "$DOCKER_HOST" || { echo "engine: no Docker Engine answers at DOCKER_HOST=$DOCKER_HOST" >&2; exit 1; }
    echo "$DOCKER_HOST theirs"
    return
  fi
  if answers; then
    echo "$(docker context inspect --format '{{.Endpoints.docker.Host}}') theirs"
    return
  fi
  if alive && answers "$socket"; then
    echo "$socket ours"
    return
  fi
  if [ "$(id -u)" != 0 ] || ! command -v dockerd >/dev/null; then
    echo "engine: no Docker Engine answers; start Docker, or run this as root after make tools" >&2
    exit 1
  fi
  mkdir -p -m 0700 "$run" "$data"
  rm -f "$run/docker.pid"
  remember
  # Of the environment dockerd needs only where to find its parts; it must not hold what our caller waits for.
  setsid dockerd --data-root "$data" --exec-root "$run/exec" --pidfile "$run/docker.pid" -H "$socket" \
    </dev/null >"$data.log" 2>&1 &
  local dockerd=$!
  for _ in $(seq 300); do
    answers "$socket" && { echo "$socket ours"; return; }
    kill -0 "$dockerd" 2>/dev/null || break
    sleep 0.1
  done
  tail -5 "$data.log" >&2
  echo "engine: dockerd did not start; its log is $data.log" >&2
  kill "$dockerd" 2>/dev/null || true
  exit 1
}

stop() {
  alive || return 0
  local pid
  pid=$(cat "$run/docker.pid")
  kill "$pid"
  for _ in $(seq 300); do
    kill -0 "$pid" 2>/dev/null || { restore; return 0; }
    sleep 0.1
  done
  echo "engine: dockerd ($pid) did not stop within 30 s" >&2
  exit 1
}

case ${1:-} in
  start | stop) "$1" ;;
  *) echo "usage: engine.sh start|stop" >&2; exit 64 ;;
esac
