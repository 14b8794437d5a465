#!/usr/bin/env bash
# Full-batch GraphSAGE-mean beside PyG and DGL on the same graph, in one run: epochs of two layers,
# hidden 128 and 256, Adam 0.01, dropout 0.5, on one thread and on two, each row the median of RUNS
# alternating runs (one where the first aggregation is not kept); bfloat16 products, and two ranks of one thread beside one rank of two.
#
#   PY=python-with-pyg PYDGL=python-with-dgl experiments/compare-peers.sh
#
# PEERS    folder of the peers' scripts (default ../shared/peers): gen_graph.py makes the graph
#          (200,000 nodes, 4,000,000 directed edges), sage_fullbatch.py runs a peer
# DATA     where the graph is kept (default build/peers, about 300 MB)
# RUNS     runs a row (default 5);  THREADS  default "1 2";  HIDDEN  default "128 256"
# FLIPBOOK the program (default build/flipbook)
#
# Peers run with jemalloc where it is installed, as their own tuning guides advise (plain glibc costs
# them up to half of their time). Ratios compare seconds, and at one thread CPU seconds, which a busy
# machine disturbs less. Exit 77 when a peer is missing, 1 when a bar is missed.
set -euo pipefail
cd "$(dirname "$0")/.."
PEERS=${PEERS:-../shared/peers}
DATA=${DATA:-build/peers}
RUNS=${RUNS:-5}
THREADS=${THREADS:-1 2}
HIDDEN=${HIDDEN:-128 256}
FLIPBOOK=${FLIPBOOK:-build/flipbook}

. experiments/compare-common.sh
peers_present sage_fullbatch.py 'torch, torch_geometric, numpy' 'PyTorch Geometric'
find_allocator

# ---- the graph, for both ----
static=$DATA/static
mkdir -p "$DATA"
[ -f "$static/meta.json" ] || "$PY" "$PEERS/gen_graph.py" static "$static"
graph=$DATA/static.h5
[ -f "$graph" ] || "$FLIPBOOK" import "$static/edges.tsv" -o "$graph" --columns src,dst \
    --features "$static/features.npy" --labels "$static/labels.npy" --splits "$static/split.npy"
parts=$DATA/static-2.h5
[ -f "$parts" ] || "$FLIPBOOK" partition "$graph" -o "$parts" --parts 2
results=$DATA/rows.txt
: >"$results"

# peer ROW PYTHON IMPL HIDDEN THREADS
peer() {
    peer_row "$1" "$2" "$PEERS/sage_fullbatch.py" "$static" --impl "$3" --hidden "$4" --threads "$5" --total 30
}
# ours ROW RANKS HIDDEN THREADS [OPTIONS]: the same work; validation only at the end, as the peers do.
ours() {
    local row=$1 ranks=$2 hidden=$3 threads=$4
    shift 4
    our_row "$row" "$ranks" "$DATA/last.log" "$parts" --model sage --task node --layers 2 --hidden "$hidden" \
        --epochs 30 --eval-every 30 --lr 0.01 --weight-decay 0 --dropout 0.5 --input-dropout 0 \
        --feature-norm none --seed 0 --metric accuracy --threads "$threads" "$@"
}

echo "row seconds-an-epoch cpu-seconds-an-epoch peak-MB test-accuracy"
for threads in $THREADS; do
    for hidden in $HIDDEN; do
        ours "flipbook-noprecompute-h$hidden-t$threads" 1 "$hidden" "$threads" --precompute off
        for _ in $(seq "$RUNS"); do
            ours "flipbook-h$hidden-t$threads" 1 "$hidden" "$threads"
            peer "dgl-h$hidden-t$threads" "$PYDGL" dgl "$hidden" "$threads"
            peer "pyg-h$hidden-t$threads" "$PY" pyg-csr "$hidden" "$threads"
            ours "flipbook-bf16-h$hidden-t$threads" 1 "$hidden" "$threads" --precision bf16
        done
    done
done
for _ in $(seq "$RUNS"); do
    ours ranks1x2-h128 1 128 2
    ours ranks2x1-h128 2 128 1
done

# ---- medians and bars ----
awk -v threads="$THREADS" -v hidden="$HIDDEN" "$medians"'
END {
    print_rows("test accuracy")
    nt = split(threads, T, " "); nh = split(hidden, H, " ")
    for (i = 1; i <= nt; i++) for (j = 1; j <= nh; j++) {
        at = "-h" H[j] "-t" T[i]; k = T[i] == 1 ? 3 : 2
        f = median("flipbook" at, k)
        bar("times as fast as PyG" at, median("pyg" at, k) / f, 3)
        bar("times as fast as DGL" at, median("dgl" at, k) / f, H[j] >= 256 ? 1.5 : 1.3)
        bar("bf16: times as fast as DGL" at, median("dgl" at, k) / median("flipbook-bf16" at, k), 2)
        m = median("dgl" at, 4); p = median("pyg" at, 4)
        bar("smaller than the smaller peer" at, (m < p ? m : p) / median("flipbook" at, 4), 2)
        a = median("dgl" at, 5)
        bar("accuracy beside DGL" at, median("flipbook" at, 5) - a + 1, 0.99)
    }
    bar("1 rank x 2 threads over 2 ranks x 1 thread, hidden 128", median("ranks1x2-h128", 2) / median("ranks2x1-h128", 2), 1 / 1.15)
    exit missed > 0
}' "$results"
