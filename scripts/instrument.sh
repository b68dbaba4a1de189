#!/bin/sh
# Stands before rustc when fuzzing: libFuzzer's coverage counters for our own crates.
rustc=$1
shift
case " $* " in
  *" --crate-name waykeeper_"* | *" --crate-name xds "* | *" --crate-name tunnel "* | *" --crate-name provider "* | *" --crate-name extauth "* | *" --crate-name ratelimit "* | *" --crate-name waypoint_"* | *" fuzz_targets/"*)
    set -- "$@" -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
      -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
      -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing ;;
esac
exec "$rustc" "$@"
