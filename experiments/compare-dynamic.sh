#!/usr/bin/env bash
# Dynamic models beside PyTorch and DGL on the same snapshots, in one run: EvolveGCN-O, TM-GCN and
# CD-GCN of two layers, hidden 32, Adam 0.01, full back-propagation over 64 snapshots, on one thread
# and on two, each row the median of RUNS alternating runs; two ranks of one thread beside one rank
# of two; bfloat16 products for CD-GCN.
#
#   PY=python-with-torch PYDGL=python-with-dgl experiments/compare-dynamic.sh
#
# PEERS    folder of the peers' scripts (default ../shared/peers): gen_graph.py makes the graph
#          (50,000 nodes, 64 training and 8 test snapshots of 500,000 edges), dyn_train.py runs a peer
# DATA     where the graph is kept (default build/peers, about 150 MB)
# RUNS     runs a row (default 3);  THREADS  default "1 2";  EPOCHS  a run (default 8)
# MODELS   default "evolvegcn tmgcn cdgcn"
# OPTIONS  ours, for every model (default: each model's own below, chosen for memory)
# WHOLE    "no" leaves out our rows of the whole timeline in one block (faster, up to 10 GB)
# FLIPBOOK the program (default build/flipbook)
#
# The same work: an event lives 16 steps; the inputs are the file's 30 columns and log1p of both
# degrees; a snapshot's positives are 8,192 events of the next step (the peers: always the first,
# ours: drawn anew), with as many non-edges (the peers: both ends drawn, ours too); an MLP scores a
# pair. EvolveGCN-O in the code's form (--cell gru), normalised by in- and out-degrees. TM-GCN: the
# peer averages X over 10 steps, ours A as well, as the paper has it: half as many values again.
# The first aggregation of constant features is taken once by ours and by DGL with --reuse: a row of
# its own, printed beside the bars, which are of the plain rows. CD-GCN's first LSTM multiplies the
# file's 30 constant columns once a block. After training AUC is taken over the 8 test snapshots.
#
# Peers run with jemalloc where it is installed, as their own tuning guides advise. Ratios compare
# seconds, and at one thread CPU seconds, which a busy machine disturbs less. Exit 77 when a peer is
# missing, 1 when a bar is missed.
set -euo pipefail
cd "$(dirname "$0")/.."
PEERS=${PEERS:-../shared/peers}
DATA=${DATA:-build/peers}
RUNS=${RUNS:-3}
THREADS=${THREADS:-1 2}
EPOCHS=${EPOCHS:-8}
MODELS=${MODELS:-evolvegcn tmgcn cdgcn}
WHOLE=${WHOLE:-yes}
FLIPBOOK=${FLIPBOOK:-build/flipbook}

. experiments/compare-common.sh
peers_present dyn_train.py 'torch, numpy' PyTorch
find_allocator

# ---- the graph, for both ----
dyn=$DATA/dyn
mkdir -p "$DATA"
[ -f "$dyn/meta.json" ] || "$PY" "$PEERS/gen_graph.py" dyn "$dyn"
graph=$DATA/dyn.h5
if [ ! -f "$graph" ]; then # the pinned non-edges of the test snapshots: target step, source, destination
    "$PY" - "$dyn" <<'PYTHON'
import json, sys
import numpy as np
d = sys.argv[1]
m = json.load(open(d + "/meta.json"))
n = np.load(d + "/negatives.npy")[m["steps"]:]
step = np.arange(len(n), dtype=np.int32)[:, None] + m["steps"] + m["life"]
np.save(d + "/pinned.npy", np.stack((np.broadcast_to(step, n.shape[:2]), n[..., 0], n[..., 1]), 2).reshape(-1, 3))
PYTHON
    "$FLIPBOOK" import "$dyn/events.tsv" -o "$graph" --columns src,dst,time --step 1 --nodes 50000 \
        --features "$dyn/features.npy" --negatives "$dyn/pinned.npy"
fi
results=$DATA/rows-dynamic.txt
: >"$results"

# peer ROW PYTHON MODEL THREADS OPTIONS…
peer() {
    local row=$1 python=$2 model=$3 threads=$4
    shift 4
    peer_row "$row" "$python" "$PEERS/dyn_train.py" "$dyn" --model "$model" --hidden 32 \
        --threads "$threads" --total "$EPOCHS" "$@"
}
# What a peer's model is called here.
# shellcheck disable=SC2034
model_evolvegcn="evolvegcn-o --cell gru" model_tmgcn="tmgcn --window 10" model_cdgcn="cdgcn"
# Few blocks keep fewer states, many shorter activations.
# shellcheck disable=SC2034
options_evolvegcn="--blocks 9" options_tmgcn="--blocks 9" options_cdgcn="--blocks 12"
# options_of MODEL: sets options.
options_of() {
    local name=options_$1
    read -ra options <<<"${OPTIONS-${!name}}"
}
# ours ROW RANKS MODEL THREADS OPTIONS…: the same work; scored only at the end, as the peers do.
ours() {
    local row=$1 ranks=$2 name=model_$3 threads=$4 model
    shift 4
    read -ra model <<<"${!name}"
    our_row "$row" "$ranks" "$DATA/last-$row.log" "$graph" --model "${model[@]}" --task link --layers 2 --hidden 32 \
        --edge-life 16 --gcn-norm inout --first-step 15 --split-steps 65,0,8 --features given+degree \
        --feature-norm none --edge-head mlp --pairs 8192 --negatives 1 --negative-ends both \
        --eval-negatives given --metric auc --epochs "$EPOCHS" --eval-every "$EPOCHS" --lr 0.01 \
        --weight-decay 0 --dropout 0 --input-dropout 0 --seed 0 --threads "$threads" "$@"
}

echo "row seconds-an-epoch cpu-seconds-an-epoch peak-MB test-auc"
for threads in $THREADS; do
    for model in $MODELS; do
        keep=()
        [ "$model" != cdgcn ] || keep=(--ckpt 10)
        options_of "$model"
        [ "$WHOLE" = no ] || ours "flipbook-whole-$model-t$threads" 1 "$model" "$threads"
        for _ in $(seq "$RUNS"); do
            ours "flipbook-$model-t$threads" 1 "$model" "$threads" "${options[@]}"
            peer "dgl-$model-t$threads" "$PYDGL" "$model" "$threads" --impl dgl "${keep[@]}"
            [ "$model" != evolvegcn ] || peer "dgl-reuse-$model-t$threads" "$PYDGL" "$model" "$threads" --impl dgl --reuse
            peer "torch-$model-t$threads" "$PY" "$model" "$threads" --impl torch "${keep[@]}"
            [ "$model" != cdgcn ] || ours "flipbook-bf16-$model-t$threads" 1 "$model" "$threads" "${options[@]}" --precision bf16
        done
    done
done
for model in $MODELS; do
    options_of "$model"
    for _ in $(seq "$RUNS"); do
        ours "ranks1x2-$model" 1 "$model" 2 "${options[@]}"
        ours "ranks2x1-$model" 2 "$model" 1 "${options[@]}"
    done
done

# ---- what the stages reach of the machine's multiply and copy limits ----
for log in "$DATA"/last-flipbook-*-t1.log; do
    echo
    echo "${log##*/last-}"
    sed -n '/^seconds .*reached/,/^peak memory/p' "$log"
done

# ---- medians and bars ----
awk -v threads="$THREADS" -v models="$MODELS" "$medians"'
function better(at, k,    d, t) { # the lower of the two peers
    d = median("dgl" at, k); t = median("torch" at, k)
    return d < t ? d : t
}
END {
    print_rows("test AUC")
    nt = split(threads, T, " "); nm = split(models, M, " ")
    for (i = 1; i <= nt; i++) for (j = 1; j <= nm; j++) {
        at = "-" M[j] "-t" T[i]; k = T[i] == 1 ? 3 : 2
        peer = better(at, k)
        bar("times as fast as the better peer" at, peer / median("flipbook" at, k), M[j] == "cdgcn" ? 2.2 : 3.5)
        if (M[j] == "evolvegcn")
            printf "%-62s %6.2f\n", "times as fast as DGL --reuse" at, median("dgl-reuse" at, k) / median("flipbook" at, k)
        if (M[j] == "cdgcn")
            bar("bf16: times as fast as the better peer" at, peer / median("flipbook-bf16" at, k), 3)
        bar("times smaller than the smaller peer" at, better(at, 4) / median("flipbook" at, 4), 3)
        a = median("dgl" at, 5); b = median("torch" at, 5)
        bar("AUC beside the better peer (0.02 below allowed)" at, median("flipbook" at, 5) - (a > b ? a : b) + 1, 0.98)
    }
    for (j = 1; j <= nm; j++)
        bar("1 rank x 2 threads over 2 ranks x 1 thread, " M[j], median("ranks1x2-" M[j], 2) / median("ranks2x1-" M[j], 2), 1 / 1.15)
    exit missed > 0
}' "$results"
