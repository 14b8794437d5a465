#!/usr/bin/env bash
# Builds and runs every test; closes with `N passed, N failed`.
set -euo pipefail
cd "$(dirname "$0")/.."
build=${BUILD:-build}
[ -f "$build/build.ninja" ] || meson setup "$build" .
ninja -C "$build"
if out=$(meson test -C "$build" --no-rebuild 2>&1); then code=0; else code=1; fi
echo "$out" | tail -n 40
passed=$(echo "$out" | awk '/^Ok:/ {print $2}')
failed=$(echo "$out" | awk '/^Fail:/ {f+=$2} /^Timeout:/ {f+=$2} END {print f+0}')
echo "${passed:-0} passed, $failed failed"
exit "$code"
