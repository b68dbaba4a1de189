#!/usr/bin/env bash
# Leaves what the pods of a test's node run in .tools/node/images.tar: a node reaches no registry.
#
# Ours are built as the Dockerfile says, by the Docker Engine that answers or by one that is
# started for it (scripts/engine.sh); the others are made here or pulled (scripts/images.sh).
set -euo pipefail
cd "$(dirname "$0")/.."
out=$PWD/.tools/node
mkdir -p "$out"

started=$(scripts/engine.sh start)
export DOCKER_HOST=${started% *} DOCKER_BUILDKIT=1
[ "${started#* }" != ours ] || trap 'scripts/engine.sh stop' EXIT
plugins=$PWD/.tools/docker
[ ! -x "$plugins/cli-plugins/docker-buildx" ] || export DOCKER_CONFIG=$plugins

others=(mccutchen/go-httpbin:v2.14.0 nicolaka/netshoot:latest registry.k8s.io/pause:3.10)
scripts/images.sh rust:1.95-bookworm envoyproxy/envoy:v1.40.0 "${others[@]}"

# What is built for tests is built quickly; the tag is the one of the container journeys.
ours=()
for name in extauth ratelimit waypoint proxy waykeeper; do
  docker build --quiet --target "$name" --tag "waykeeper/$name:test" --build-arg PROFILE=dev . >/dev/null
  ours+=("waykeeper/$name:test")
done

ids=$(docker image inspect --format '{{.Id}}' "${ours[@]}" "${others[@]}")
[ -e "$out/images.tar" ] && [ "$ids" = "$(cat "$out/images.ids" 2>/dev/null)" ] && exit
rm -f "$out/images.ids"
docker save --output "$out/images.tar.part" "${ours[@]}" "${others[@]}"
mv "$out/images.tar.part" "$out/images.tar"
printf '%s\n' "$ids" >"$out/images.ids"
