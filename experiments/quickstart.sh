#!/usr/bin/env bash
# From a fresh Debian 12 to a trained model in under five minutes on two cores: installs what is
# missing, builds, generates a network of payments with planted laundering rings, cuts it with METIS,
# trains on two MPI ranks and draws the curves. What it makes stands in build/quickstart.
#
#   experiments/quickstart.sh [options of flipbook train]
set -euo pipefail
cd "$(dirname "$0")/.."
began=$SECONDS
step() { printf '\n==> %s\n' "$*"; }
run() {
    printf '$ %s\n' "$*"
    "$@"
}

step "installing what is missing (gcc, Meson, Open MPI, HDF5, METIS, OpenBLAS, gnuplot …)"
experiments/install-deps.sh build plot

step "building"
[ -f build/build.ninja ] || meson setup build . >build.log 2>&1 || {
    tail -n 20 build.log >&2
    exit 1
}
rm -f build.log
ninja -C build flipbook

# Root under Open MPI has to say twice that it means it (containers, fresh machines).
[ "$(id -u)" -ne 0 ] || export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
out=build/quickstart
mkdir -p $out

step "thirty weeks of payments between 20,000 accounts, with laundering rings hidden in them"
run build/flipbook generate payments -o $out/payments.h5 --nodes 20000 --steps 30 --seed 1
run build/flipbook info $out/payments.h5

step "cutting it into 8 parts with METIS"
run build/flipbook partition $out/payments.h5 -o $out/parts.h5 --parts 8

step "training on two ranks: which accounts launder?"
rm -f $out/report.jsonl
run mpirun --oversubscribe --bind-to none -n 2 build/flipbook train $out/parts.h5 \
    --settings experiments/quickstart.yaml --threads 1 \
    --report $out/report.jsonl --checkpoint $out/model.h5 "$@"

step "the curves"
experiments/plot-curves.sh $out/curves.png $out/report.jsonl

step "done in $((SECONDS - began)) s: report $out/report.jsonl, model $out/model.h5, curves $out/curves.png"
echo "next: build/flipbook predict $out/parts.h5 --checkpoint $out/model.h5 --output predictions.csv"
