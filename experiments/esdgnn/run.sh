#!/usr/bin/env bash
# The story of "Efficient Scaling of Dynamic Graph Neural Networks" (SC'21) retold here, from one
# command, in under fifteen minutes on two cores:
#
#   1 transfers   bytes of the graph to the device: every snapshot in full, as graph differences, or
#                 resident events; by edge life, by chunk length, and where differences lose
#   2 exchanges   bytes between ranks for every distribution: real runs on 1 to 4 ranks, and counted
#                 from the graph for 2 to 1,024
#   3 memory      peak memory against the number of blocks of the timeline, and what it costs
#   4 time        where an epoch goes, by model
#
# Real graphs where DATA holds them, else and beside them generated ones, with the published sizes of
# the paper's graphs times SCALE. Everything stands in OUT: tables (table.md), data (*.tsv), *.png.
#
# DATA      folder of public data sets, default ../shared/data
# FLIPBOOK  the program, default build/flipbook (built if it is not there)
# OUT       default build/esdgnn;  SCALE  default 0.01
# PARTS     default "transfers exchanges memory time"
# BANDWIDTH LATENCY  of the modelled network: GB/s a rank, microseconds; default 10, 5
#
#   experiments/esdgnn/run.sh
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/../.."
DATA=${DATA:-../shared/data}
FLIPBOOK=${FLIPBOOK:-build/flipbook}
OUT=${OUT:-build/esdgnn}
SCALE=${SCALE:-0.01}
PARTS=${PARTS:-transfers exchanges memory time}
BANDWIDTH=${BANDWIDTH:-10}
LATENCY=${LATENCY:-5}
# shellcheck source=experiments/begin.sh
. "$here/../begin.sh"

# shellcheck source=experiments/esdgnn/graphs.sh
. "$here/graphs.sh"
# shellcheck source=experiments/esdgnn/measure.sh
. "$here/measure.sh"
for part in $PARTS; do
    say "part: $part"
    # shellcheck disable=SC1090
    . "$here/$part.sh"
done
# shellcheck source=experiments/esdgnn/table.sh
. "$here/table.sh" >"$OUT/table.md"
cat "$OUT/table.md"
say "done; tables and pictures are in $OUT"
