#!/usr/bin/env bash
# README's walk, literally: the commands of its block marked `walk` run one after another on a table
# of a stranger's, and end in a probability for each of its events.
#
#   tests/walk.sh BUILD        (the first command, which installs and builds, is left to the caller)
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
build=$(cd "${1:-$root/build}" && pwd)
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
ln -s "$build" build
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_mpi_yield_when_idle=1
export OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_hwloc_base_binding_policy=none

# 6,000 events between 400 accounts in half a year; some accounts collect from some others.
awk 'BEGIN {
    srand(7); print "from,to,amount,date,suspicious"
    for (i = 0; i < 6000; i++) {
        a = int(rand() * 400); b = int(rand() * 400); bad = rand() < 0.12
        if (bad) { a = int(rand() * 20) * 20 + 3; b = int(rand() * 20) * 20 + 7 }
        day = int(rand() * 168)
        printf "acct%d,acct%d,%.2f,2024-%02d-%02d,%s\n", a, b, exp(3 + 2 * rand()), day / 28 + 1, day % 28 + 1, bad ? "yes" : "no"
    }
}' >trades.csv

awk '/^```sh walk$/ { inside = 1; next } /^```$/ { inside = 0 } inside' "$root/README.md" >commands
[ "$(wc -l <commands)" -eq 5 ] || { echo "README's walk has $(wc -l <commands) commands, not five" && exit 1; }
grep -q 'install-deps.sh build && meson setup build && ninja -C build$' <(head -n 1 commands)
tail -n +2 commands | while read -r command; do
    echo "\$ $command"
    bash -c "$command" </dev/null
done
lines=$(wc -l <scores.csv)
[ "$lines" -gt 5000 ] || { echo "scores.csv has $lines lines" && exit 1; }
grep -q '^acct' scores.csv || { echo "scores.csv does not speak of the accounts by their names" && exit 1; }
grep -q '"record":"summary"' report.jsonl
