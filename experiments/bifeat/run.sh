#!/usr/bin/env bash
# Packed features from one command: what the codecs lose, what that costs in accuracy, what they save.
#
#   1 distortion  stored bytes (codes, tables, padding) and error of every codec on every graph
#   2 accuracy    test accuracy at the best validation epoch against stored bytes: GraphSAGE, and the
#                 same layers without edges (a plain network on a node's own row), which has no
#                 neighbours to average errors away
#   3 cache       bytes over each link and hit rate against the size of the cache, two ranks
#   4 refine      accuracy of rows of two levels against stored and moved bytes
#   5 stages      where an epoch goes, float32 beside packed features, and after how many epochs
#                 compressing has paid for itself
#
# Everything stands in OUT: tables (table.md), data (*.tsv), *.png.
#
# DATA      folder of public data sets, default ../shared/data
# FLIPBOOK  the program, default build/flipbook (built if it is not there)
# OUT       default build/bifeat;  SEEDS default 5;  SCALE of the graph with the shape of
#           ogbn-products, default 0.02
# SETS      default: a few real graphs and two generated ones; SETS=all takes every graph with features
# PARTS     default "distortion accuracy cache refine stages". cache and stages took 9 minutes together
#           where other work shared the two cores; reports are kept, so a run that was stopped goes on
#
#   experiments/bifeat/run.sh
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/../.."
DATA=${DATA:-../shared/data}
FLIPBOOK=${FLIPBOOK:-build/flipbook}
OUT=${OUT:-build/bifeat}
SEEDS=${SEEDS:-5}
SCALE=${SCALE:-0.02}
PARTS=${PARTS:-distortion accuracy cache refine stages}
SETS=${SETS:-pubmed photo-128 computers-128 sbm-128}
# shellcheck source=experiments/begin.sh
. "$here/../begin.sh"
build=$(dirname "$FLIPBOOK")
[ -x "$build/project" ] || ninja -C "$build" project >/dev/null
[ "$SETS" != all ] || SETS="cora citeseer pubmed photo-128 computers-128 amazon-photo amazon-computers actor
    wiki-chameleon-filtered wiki-squirrel-filtered facebook-pagepage tolokers minesweeper sbm-128 products"

# shellcheck source=experiments/bifeat/graphs.sh
. "$here/graphs.sh"
# shellcheck source=experiments/esdgnn/measure.sh
. "$here/../esdgnn/measure.sh"
for part in $PARTS; do
    say "$part"
    # shellcheck source=/dev/null
    . "$here/$part.sh"
done
. "$here/table.sh" >"$OUT/table.md"
say "tables: $OUT/table.md"
cat "$OUT/table.md"
