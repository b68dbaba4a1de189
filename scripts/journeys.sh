#!/usr/bin/env bash
# journeys.sh NAME…: runs these test binaries of `tests`, two at a time, each in a network
# namespace of its own (scripts/alone.sh), and prints what each said when it has ended.
# All are run, whatever fails. Where no namespace can be made they run one after the other.
# journeys.sh --helpers: runs the tests of what journeys share.
set -euo pipefail
cd "$(dirname "$0")/.."

if [[ ${1-} == --one ]]; then
  said=$(mktemp)
  trap 'rm -f "$said"' EXIT
  status=0
  scripts/alone.sh cargo test --workspace --test "$2" >"$said" 2>&1 || status=$?
  # In one write, so that what two say does not mix.
  cat "$said"
  exit "$status"
fi

if [[ ${1-} == --helpers ]]; then
  # By its file: `cargo test -p` would build half of everything once more, with other features.
  built=$(CARGO_TERM_QUIET=false cargo test --workspace --lib --no-run 2>&1)
  helpers=$(sed -n 's|.*(\(target/debug/deps/waykeeper_tests-[0-9a-f]*\)).*|\1|p' <<<"$built")
  [[ -x $helpers ]] || { echo "journeys.sh: no tests of waykeeper-tests among: $built" >&2; exit 1; }
  cd tests
  exec "../$helpers"
fi

at_once=1
if unshare --net true 2>/dev/null || unshare --map-root-user --net true 2>/dev/null; then at_once=2; fi
printf '%s\n' "$@" | xargs -n 1 -P "$at_once" scripts/journeys.sh --one
