#!/usr/bin/env bash
# Requests per second and latency through the waypoint, beside a bare Envoy that
# proxies the same application in the same run. Everything on loopback, bounded
# in time. Figures are for this machine; quote the ratios.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${BENCH_SECONDS:-8} connections=${BENCH_CONNECTIONS:-32}
envoy=${ENVOY:-.tools/envoy} waykeeper=target/release/waykeeper
for part in "$envoy" "$waykeeper" "$(command -v wrk || echo wrk)"; do
  [ -x "$part" ] || { echo "bench: $part is missing; run \`make bench\`" >&2; exit 1; }
done
work=$(mktemp -d) pids=()
finish() { for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null && wait "$pid" 2>/dev/null; done; rm -rf "$work"; }
trap finish EXIT

cp -r examples/httpbin/. "$work"/
"$waykeeper" up --sample --admin 127.0.0.1:15009 --envoy-concurrency 1 --log-level warn "$work" >"$work/out" 2>"$work/err" &
pids+=($!)
for _ in $(seq 300); do grep -q '^ready' "$work/out" && break; sleep 0.1; done
grep -q '^ready' "$work/out" || { cat "$work/err" >&2; exit 1; }

cat >"$work/bare.json" <<JSON
{"static_resources": {"listeners": [{"name": "bare", "address": {"socket_address": {"address": "127.0.0.1", "port_value": 18090}},
  "filter_chains": [{"filters": [{"name": "hcm", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
    "stat_prefix": "bare", "http_filters": [{"name": "router", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}],
    "route_config": {"virtual_hosts": [{"name": "v", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "app"}}]}]}}}]}]}],
  "clusters": [{"name": "app", "load_assignment": {"cluster_name": "app", "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {"socket_address": {"address": "127.0.10.2", "port_value": 8080}}}}]}]}}]}}
JSON
"$envoy" -c "$work/bare.json" --concurrency 1 --use-dynamic-base-id --log-level error >/dev/null 2>&1 &
pids+=($!)
for _ in $(seq 100); do curl -sf -o /dev/null http://127.0.0.1:18090/get && break; sleep 0.1; done

measure() { # measure LABEL URL [HEADER]
  local label=$1 url=$2; shift 2
  local out; out=$(wrk -t1 -c"$connections" -d"${seconds}s" --latency "${@/#/-H}" "$url")
  local rps p50 p99 bad
  rps=$(awk '/Requests\/sec/ {print $2}' <<<"$out"); p50=$(awk '$1=="50%" {print $2}' <<<"$out"); p99=$(awk '$1=="99%" {print $2}' <<<"$out")
  bad=$(awk '/Non-2xx/ {print $NF}' <<<"$out")
  bare=${bare:-$rps}
  printf '%-42s %10s req/s  p50 %8s  p99 %8s  %5.2f of bare%s\n' "$label" "$rps" "$p50" "$p99" "$(awk -v a="$rps" -v b="$bare" 'BEGIN {print a/b}')" "${bad:+  ($bad not 2xx)}"
}

applied() { # applied URL STATUS [HEADER]: waits until a change is served
  for _ in $(seq 200); do [ "$(curl -s -o /dev/null -w '%{http_code}' "${@:3}" "$1")" = "$2" ] && return; sleep 0.02; done
  echo "bench: $1 did not answer $2" >&2; exit 1
}

echo "$connections connections, $seconds s each, $(nproc) cores, Envoy with one worker, all on this machine"
measure "bare Envoy" http://127.0.0.1:18090/get
measure "waypoint, no policy" http://127.0.20.2:8000/get
cp examples/walkthrough-000/apikeys/*.yaml "$work"/
applied http://127.0.20.2:8000/get 401
measure "waypoint, API key" http://127.0.20.2:8000/get "api-key: mykey"
for f in examples/walkthrough-000/apikeys/*.yaml; do rm "$work/$(basename "$f")"; done
applied http://127.0.20.2:8000/get 200
for f in examples/walkthrough-000/ratelimit-httpbin2/*.yaml; do
  sed 's/requestsPerUnit: 1$/requestsPerUnit: 4000000000/' "$f" >"$work/$(basename "$f")"
done
sleep 1
measure "waypoint, limit in memory (never reached)" http://127.0.20.2:8000/get
cp examples/walkthrough-000/apikeys/*.yaml "$work"/
cat >"$work"/zz-both.yaml <<'YAML'
apiVersion: gateway.solo.io/v1
kind: RouteOption
metadata:
  name: httpbin2
  namespace: httpbin
spec:
  targetRefs:
  - group: gateway.networking.k8s.io
    kind: HTTPRoute
    name: httpbin2
  options:
    extauth:
      configRef:
        name: apikeys
        namespace: httpbin
    rateLimitConfigs:
      refs:
      - name: ratelimit-httpbin2
        namespace: httpbin
YAML
applied http://127.0.20.2:8000/get 401
measure "waypoint, API key and limit" http://127.0.20.2:8000/get "api-key: mykey"
