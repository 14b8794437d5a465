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

# ---- what is missing ----
missing=()
[ -f "$PEERS/sage_fullbatch.py" ] || missing+=("the peers' scripts (PEERS=$PEERS has no sage_fullbatch.py)")
"${PY:-false}" -c 'import torch, torch_geometric, numpy' 2>/dev/null || missing+=("PyTorch Geometric (PY=${PY:-unset})")
"${PYDGL:-false}" -c 'import os; os.environ["DGLBACKEND"]="pytorch"; import dgl' >/dev/null 2>&1 || missing+=("DGL (PYDGL=${PYDGL:-unset})")
if [ ${#missing[@]} -gt 0 ]; then
    printf 'compare-peers.sh: missing: %s\n' "${missing[@]}"
    exit 77
fi
[ -x "$FLIPBOOK" ] || {
    echo "compare-peers.sh: no program at $FLIPBOOK; build it with meson setup build && ninja -C build" >&2
    exit 1
}

# Threads that wait sleep, for all alike: where cores are shared, waiting actively costs several times
# what it gives.
export OMP_WAIT_POLICY=passive
allocator=()
jemalloc=$(ldconfig -p | awk '/libjemalloc\.so\.2/ { print $NF; exit }')
if [ -n "$jemalloc" ]; then
    allocator=("LD_PRELOAD=$jemalloc" "MALLOC_CONF=oversize_threshold:1,background_thread:true,metadata_thp:auto,thp:always,dirty_decay_ms:-1,muzzy_decay_ms:-1")
else
    echo "note: jemalloc (libjemalloc2) is not installed; the peers run slower than they could"
fi
[ "$(id -u)" -ne 0 ] || export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1

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

# shellcheck disable=SC2016
reader='
function get(key,    at, rest) {
    at = index($0, "\"" key "\":")
    if (!at) return "nan"
    rest = substr($0, at + length(key) + 3)
    sub(/^ */, "", rest); sub(/[,}].*/, "", rest); gsub(/"/, "", rest)
    return rest
}
'
# peer ROW PYTHON IMPL HIDDEN THREADS: appends "row seconds cpu MB accuracy" to the results.
peer() {
    local out
    out=$(env "${allocator[@]}" PYTHONWARNINGS=ignore PYTHONDONTWRITEBYTECODE=1 "$2" "$PEERS/sage_fullbatch.py" "$static" \
        --impl "$3" --hidden "$4" --threads "$5" --total 30)
    awk -v row="$1" "$reader"'/sec_per_epoch/ { print row, get("sec_per_epoch"), get("cpu_sec_per_epoch"), get("peak_rss_mb"), get("accuracy") }' \
        <<<"$out" | tee -a "$results"
}
# ours ROW RANKS HIDDEN THREADS [OPTIONS]: the same work; validation only at the end, as the peers do.
ours() {
    local row=$1 ranks=$2 hidden=$3 threads=$4 report=$DATA/report.jsonl
    shift 4
    rm -f "$report"
    local start=()
    [ "$ranks" -eq 1 ] || start=(mpirun --oversubscribe --bind-to none -n "$ranks")
    "${start[@]}" "$FLIPBOOK" train "$parts" --model sage --task node --layers 2 --hidden "$hidden" --epochs 30 \
        --eval-every 30 --lr 0.01 --weight-decay 0 --dropout 0.5 --input-dropout 0 --feature-norm none --seed 0 \
        --metric accuracy --threads "$threads" --report "$report" "$@" >"$DATA/last.log"
    awk -v row="$row" "$reader"'/"record": *"summary"/ { print row, get("seconds_per_epoch"), get("cpu_seconds_per_epoch"), get("peak_rss_bytes") / 1e6, get("test") }' \
        "$report" | tee -a "$results"
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
awk -v threads="$THREADS" -v hidden="$HIDDEN" '
{ n[$1]++; for (k = 2; k <= 5; k++) v[$1, k, n[$1]] = $k; if (!($1 in seen)) { seen[$1]; order[++rows] = $1 } }
function median(row, k,    i, j, m, a, t) {
    m = n[row]
    for (i = 1; i <= m; i++) a[i] = v[row, k, i] + 0
    for (i = 2; i <= m; i++) for (j = i; j > 1 && a[j] < a[j - 1]; j--) { t = a[j]; a[j] = a[j - 1]; a[j - 1] = t }
    return m % 2 ? a[(m + 1) / 2] : (a[m / 2] + a[m / 2 + 1]) / 2
}
function bar(what, ratio, least) {
    printf "%-58s %6.2f  bar %.2f  %s\n", what, ratio, least, (ratio >= least ? "holds" : "MISSED")
    if (ratio < least) missed++
}
END {
    printf "\n| row | s an epoch | CPU s an epoch | peak MB | test accuracy |\n|---|---|---|---|---|\n"
    for (i = 1; i <= rows; i++)
        printf "| %s | %.3f | %.3f | %.0f | %.4f |\n", order[i], median(order[i], 2), median(order[i], 3), median(order[i], 4), median(order[i], 5)
    print ""
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
