#!/usr/bin/env bash
# Sampled GraphSAGE-mean beside DGL, GraphBolt and PyG on the same graph, in one run: two layers,
# hidden 128, batches of 1024, fanouts 10,10 and 15,10, Adam 0.003, dropout 0.5, on one thread and on
# two, each row the median of RUNS alternating runs; also with bfloat16 products, alone and on packed
# features.
#
#   PY=python-with-pyg PYDGL=python-with-dgl experiments/compare-sampled.sh
#
# PEERS    folder of the peers' scripts (default ../shared/peers): gen_graph.py makes the graph
#          (200,000 nodes, 4,000,000 directed edges), sage_sampled.py runs a peer
# DATA     where the graph is kept (default build/peers, about 300 MB)
# RUNS     runs a row (default 3);  THREADS  default "1 2";  FANOUTS  default "10,10 15,10"
# CODEC    of the packed features (default lloyd:4:shared; empty: none)
# FLIPBOOK the program (default build/flipbook)
#
# Peers run with jemalloc where it is installed, as their own tuning guides advise. Ratios compare
# seconds, and at one thread CPU seconds, which a busy machine disturbs less. All train 4 epochs, of
# which the peers time the last 3; ours is the median of all. Accuracy: the test split with every
# neighbour after the last epoch. Exit 77 when a peer is missing, 1 when a bar is missed.
set -euo pipefail
cd "$(dirname "$0")/.."
PEERS=${PEERS:-../shared/peers}
DATA=${DATA:-build/peers}
RUNS=${RUNS:-3}
THREADS=${THREADS:-1 2}
FANOUTS=${FANOUTS:-10,10 15,10}
CODEC=${CODEC-lloyd:4:shared}
FLIPBOOK=${FLIPBOOK:-build/flipbook}

. experiments/compare-common.sh
peers_present sage_sampled.py 'torch, torch_geometric, numpy' 'PyTorch Geometric'
find_allocator
pyg=yes
"$PY" -c 'import torch_geometric.typing as t; assert t.WITH_PYG_LIB or t.WITH_TORCH_SPARSE' 2>/dev/null || {
    pyg=
    echo "note: PyTorch Geometric has no sampler here (pyg-lib or torch-sparse with torch-scatter); its rows and"
    echo "      the bar of 2 times PyG are left out"
}

# ---- the graph, for both ----
static=$DATA/static
mkdir -p "$DATA"
[ -f "$static/meta.json" ] || "$PY" "$PEERS/gen_graph.py" static "$static"
graph=$DATA/static.h5
[ -f "$graph" ] || "$FLIPBOOK" import "$static/edges.tsv" -o "$graph" --columns src,dst \
    --features "$static/features.npy" --labels "$static/labels.npy" --splits "$static/split.npy"
packed=$DATA/static-packed.h5
if [ -n "$CODEC" ] && [ ! -f "$packed" ]; then
    "$FLIPBOOK" compress "$graph" -o "$packed" --codec "$CODEC" >/dev/null || CODEC=
fi
results=$DATA/rows-sampled.txt
: >"$results"

# peer ROW PYTHON IMPL FANOUT THREADS
peer() {
    peer_row "$1" "$2" "$PEERS/sage_sampled.py" "$static" --impl "$3" --fanout "$4" --threads "$5" \
        --hidden 128 --batch 1024 --warmup 1 --timed 3 --lr 0.003 --dropout 0.5
}
# ours ROW GRAPH FANOUT THREADS [OPTIONS]: the same work; scores only at the end, as the peers do. All
# of it on these threads: none is ahead (--prefetch).
ours() {
    local row=$1 from=$2 fanout=$3 threads=$4
    shift 4
    our_row "$row" 1 "$DATA/last-sampled.log" "$from" --model sage --task node --layers 2 --hidden 128 \
        --batch 1024 --fanout "$fanout" --epochs 4 --eval-every 4 --lr 0.003 --weight-decay 0 \
        --dropout 0.5 --input-dropout 0 --seed 0 --metric accuracy --threads "$threads" --prefetch 0 "$@"
}

echo "row seconds-an-epoch cpu-seconds-an-epoch peak-MB test-accuracy"
for threads in $THREADS; do
    for fanout in $FANOUTS; do
        at=f${fanout/,/x}-t$threads
        for _ in $(seq "$RUNS"); do
            ours "flipbook-$at" "$graph" "$fanout" "$threads" --feature-norm none
            peer "dgl-$at" "$PYDGL" dgl "$fanout" "$threads"
            peer "graphbolt-$at" "$PYDGL" graphbolt "$fanout" "$threads"
            [ -z "$pyg" ] || peer "pyg-$at" "$PY" pyg-csr "$fanout" "$threads"
            ours "flipbook-bf16-$at" "$graph" "$fanout" "$threads" --feature-norm none --precision bf16
            [ -z "$CODEC" ] || ours "flipbook-packed-$at" "$packed" "$fanout" "$threads" --precision bf16
        done
    done
done

# ---- medians and bars ----
awk -v threads="$THREADS" -v fanouts="$FANOUTS" -v codec="$CODEC" -v pyg="$pyg" "$medians"'
END {
    print_rows("test accuracy")
    nt = split(threads, T, " "); nf = split(fanouts, F, " ")
    for (i = 1; i <= nt; i++) for (j = 1; j <= nf; j++) {
        f = F[j]; sub(/,/, "x", f)
        at = "-f" f "-t" T[i]; k = T[i] == 1 ? 3 : 2
        us = median("flipbook" at, k); d = median("dgl" at, k); g = median("graphbolt" at, k)
        best = g < d ? g : d
        bar("times as fast as the better of DGL and GraphBolt" at, best / us, 1.5)
        if (pyg) bar("times as fast as PyG" at, median("pyg" at, k) / us, 2)
        bar("bf16: times as fast as DGL or GraphBolt" at, best / median("flipbook-bf16" at, k), 1.5)
        if (codec != "") bar("bf16, packed: times as fast" at, best / median("flipbook-packed" at, k), 2)
        d = median("dgl" at, 4); g = median("graphbolt" at, 4); p = median("pyg" at, 4)
        m = d < g ? d : g; if (pyg && p < m) m = p
        bar("smaller than the smallest peer" at, m / median("flipbook" at, 4), 2)
        a = median("dgl" at, 5)
        bar("accuracy beside DGL" at, median("flipbook" at, 5) - a + 1, 0.995)
        if (codec != "") bar("packed: accuracy beside DGL" at, median("flipbook-packed" at, 5) - a + 1, 0.99)
    }
    exit missed > 0
}' "$results"
