#!/usr/bin/env bash
# Builds the fuzz targets on the stable toolchain and runs each for a while.
# Our own crates are instrumented for coverage, third parties' are not: that is
# what we look for mistakes in, and it builds in minutes.
#   scripts/fuzz.sh [SECONDS [TARGET...]]
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-20}
shift || true
targets=("$@")
[ ${#targets[@]} -gt 0 ] || for file in fuzz/fuzz_targets/*.rs; do targets+=("$(basename "$file" .rs)"); done

export CARGO_TARGET_DIR=${FUZZ_TARGET_DIR:-$PWD/target/fuzz} RUSTC_WRAPPER=$PWD/scripts/instrument.sh
cargo build --quiet --manifest-path fuzz/Cargo.toml --bins
for target in "${targets[@]}"; do
  corpus=$CARGO_TARGET_DIR/corpus/$target
  mkdir -p "$corpus" "$CARGO_TARGET_DIR/artifacts"
  # Manifests grow from the test data, what has a folder in fuzz/seeds from that; the rest from nothing.
  seeds=()
  [ ! -d "fuzz/seeds/$target" ] || seeds=("fuzz/seeds/$target")
  case $target in manifest | admit | translate) seeds=(examples extauth/testdata ratelimit/testdata waypoint/translate/testdata) ;; esac
  echo "fuzz: $target, $seconds s"
  log=$CARGO_TARGET_DIR/artifacts/$target.log
  if ! "$CARGO_TARGET_DIR/debug/$target" "$corpus" "${seeds[@]}" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=4096 \
    -print_final_stats=1 -artifact_prefix="$CARGO_TARGET_DIR/artifacts/$target-" >"$log" 2>&1; then
    tail -n 40 "$log" >&2
    echo "fuzz: $target failed; the input is in $CARGO_TARGET_DIR/artifacts" >&2
    exit 1
  fi
  grep -E 'stat::number_of_executed|DONE' "$log"
done
