#!/usr/bin/env bash
# Does time help? GCN without time against GCN with a GRU behind every layer, on the same grid: links
# of the next step, 50 drawn non-edges a pair. The learning rate is chosen for each model by the
# validation MAP (mean of CHOOSE seeds); test MAP is the mean ± standard deviation of SEEDS seeds (5),
# and the difference stands beside its standard error. Settings stand in time-matters.yaml beside
# this script. See common.sh for variables.
#
#   experiments/accuracy/time-matters.sh
SEEDS=${SEEDS:-5}
# shellcheck source=experiments/accuracy/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
CHOOSE=${CHOOSE:-2}
rates=${RATES:-0.003 0.01 0.03}

# runs DATA MODEL RATE SEEDS OPTIONS…: the reports are in $reports.
runs() {
    local data=$1 model=$2 rate=$3 seeds=$4 seed
    shift 4
    reports=()
    for seed in $(seq 0 $((seeds - 1))); do
        # shellcheck disable=SC2086
        train "time-$data-${model// /}-$rate-$seed" --settings "$here/time-matters.yaml" --model $model --lr "$rate" --seed "$seed" "$@"
        reports+=("$report")
    done
}

# best DATA MODEL OPTIONS…: test MAPs of all seeds at the chosen rate in $tests, the rate in $chosen.
best() {
    local data=$1 model=$2 rate valid high=-1
    shift 2
    for rate in $rates; do
        runs "$data" "$model" "$rate" "$CHOOSE" "$@"
        valid=$(of valid "${reports[@]}" | spread 1)
        if awk -v a="${valid%% *}" -v b="$high" 'BEGIN { exit !(a > b) }'; then high=${valid%% *} chosen=$rate; fi
    done
    runs "$data" "$model" "$chosen" "$SEEDS" "$@"
    tests=$(of test "${reports[@]}")
}

echo "| data | GCN, test MAP | GCN + GRU | rates | difference | standard errors |"
echo "|---|---|---|---|---|---|"
for data in ${SETS:-uci enron10 email-eu-core}; do
    case $data in
    uci) graph uci "$DATA/uci-messages/out.opsahl-ucsocial.zst" --columns src,dst,weight,time --step 190080s --undirected ;;
    enron10) graph enron10 "$DATA/enron/enron10_edges.tsv" --columns time,src,dst --step 1 --undirected --nodes 184 ;;
    email-eu-core) graph email-eu-core "$DATA/email-eu-core/email-Eu-core-temporal.txt.gz" --columns src,dst,time --step 7d ;;
    esac
    steps=()
    [ $data != uci ] || steps=(--split-steps 63,9,17)
    [ $data != enron10 ] || steps=(--split-steps 7,1,3)
    [ $data != email-eu-core ] || steps=(--split-steps 50,8,16)
    best $data gcn "${steps[@]}"
    without=$tests rate=$chosen
    best $data "gcn --temporal gru" "${steps[@]}"
    difference=$(paste <(echo "$without") <(echo "$tests") | awk '{ a += $1; b += $2; p += $1 * $1; q += $2 * $2; n++ }
        END { v = (p - a * a / n) / (n - 1) / n; w = (q - b * b / n) / (n - 1) / n
            printf "%.4f | %.1f", (b - a) / n, (b - a) / n / sqrt(v + w > 0 ? v + w : 1e-300) }')
    echo "| $data | $(echo "$without" | spread 1) | $(echo "$tests" | spread 1) | $rate, $chosen | $difference |"
done
