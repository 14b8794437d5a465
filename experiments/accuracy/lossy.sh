#!/usr/bin/env bash
# What rounding costs: full-batch GraphSAGE (hidden 64) with rows and gradients between two ranks in
# few bits (--wire-codec), and with saved activations in few bits (--activations), beside the exact
# run: test accuracy at the best validation epoch, mean ± standard deviation over seeds, its
# difference from exact in points with the standard error of the paired differences, bytes of the
# halo and bytes saved for the backward pass beside exact. See common.sh for variables.
#
#   SETS="pubmed amazon-photo" WAYS="wire-int8 activations-2bit" experiments/accuracy/lossy.sh
RANKS=${RANKS:-2}
# shellcheck source=experiments/accuracy/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
EPOCHS=${EPOCHS:-100}
WAYS=${WAYS:-wire-bf16 wire-int8 wire-adaptive wire-int4 activations-8bit activations-4bit activations-2bit}

# field PATH REPORT: a number of the summary, by its keys.
field() {
    sed -nE '/"record": *"summary"/s/.*"'"$1"'": *([0-9.e+-]+).*/\1/p' "$2" | tail -n 1
}
halo() {
    sed -nE '/"record": *"summary"/s/.*"bytes": *\{"halo": *([0-9.e+-]+).*/\1/p' "$1" | tail -n 1
}

echo "| data | way | accuracy, % | difference, points | halo bytes | saved bytes |"
echo "|---|---|---|---|---|---|"
for data in ${SETS:-cora pubmed amazon-photo amazon-computers}; do
    graph $data "$DATA/$data"
    if [ ! -f "$OUT/$data-4.h5" ]; then
        "$FLIPBOOK" partition "$graph" -o "$OUT/$data-4.h5" --parts 4 >"$OUT/$data-4.log" 2>&1
    fi
    graph=$OUT/$data-4.h5
    exact=()
    for way in exact $WAYS; do
        options=()
        case $way in
        wire-*) options=(--wire-codec "${way#*-}") ;;
        activations-*) options=(--activations "${way#*-}") ;;
        esac
        reports=()
        for seed in $(seq 0 $((SEEDS - 1))); do
            train "lossy-$data-$way-$seed" --model sage --task node --layers 2 --hidden 64 --lr 0.01 \
                --weight-decay 0.0005 --dropout 0.5 --epochs "$EPOCHS" --metric accuracy --seed "$seed" "${options[@]}"
            reports+=("$report")
        done
        [ $way != exact ] || exact=("${reports[@]}")
        difference=$(paste <(of test "${reports[@]}") <(of test "${exact[@]}") | awk '{ d = 100 * ($1 - $2); s += d; q += d * d; n++ }
            END { m = s / n; v = n > 1 ? (q - n * m * m) / (n - 1) : 0; printf "%+.2f ± %.2f", m, sqrt(v > 0 ? v / n : 0) }')
        ratio=$(awk -v a="$(halo "${reports[0]}")" -v b="$(halo "${exact[0]}")" 'BEGIN { printf "%.3f", a / b }')
        saved=$(awk -v a="$(field saved_bytes "${reports[0]}")" -v b="$(field saved_bytes "${exact[0]}")" 'BEGIN { printf "%.3f", a / b }')
        echo "| $data | $way | $(of test "${reports[@]}" | spread 100) | $difference | $ratio | $saved |"
    done
done
