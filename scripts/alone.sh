#!/usr/bin/env bash
# alone.sh COMMAND…: runs a command in a network namespace of its own, which has loopback only.
#
# The journeys use the example's own addresses, and so does a running `make up`: apart,
# neither takes the other's. Where no namespace can be made (macOS, or a system that
# forbids it), the command is run as it is, and it is said what must not run beside it.
set -euo pipefail

# Journeys open thousands of connections: as many files as are allowed.
ulimit -n "$(ulimit -Hn)" 2>/dev/null || true

inside='ip link set lo up 2>/dev/null || ifconfig lo up; export CARGO_NET_OFFLINE=true; exec "$@"'
for how in "unshare --net" "unshare --map-root-user --net"; do
  if $how true 2>/dev/null && $how sh -c 'ip link set lo up || ifconfig lo up' 2>/dev/null; then
    # shellcheck disable=SC2086
    exec $how bash -c "$inside" alone "$@"
  fi
done
echo "alone: no network namespace can be made here: stop a running \`waykeeper up\` first, it uses the same addresses" >&2
exec "$@"
