#!/usr/bin/env bash
# EvolveGCN-H and -O on uci-messages under the protocol of the EvolveGCN code (Pareja et al., AAAI
# 2020): test MAP and MRR over all pairs of a step at the best validation MAP, mean ± standard
# deviation of SEEDS seeds (5), beside the published numbers and GCN. Settings stand in uci.yaml
# beside this script. See common.sh for variables.
#
#   experiments/accuracy/uci.sh [MODEL…]        default: evolvegcn-h evolvegcn-o gcn
SEEDS=${SEEDS:-5}
# shellcheck source=experiments/accuracy/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
[ $# -gt 0 ] || set -- evolvegcn-h evolvegcn-o gcn
declare -A map=([evolvegcn-h]=.0126 [evolvegcn-o]=.0270 [gcn]=.0251) mrr=([evolvegcn-h]=.0899 [evolvegcn-o]=.1379 [gcn]=.1141)

graph uci "$DATA/uci-messages/out.opsahl-ucsocial.zst" --columns src,dst,weight,time --step 190080s --undirected
echo "| model | MAP | MRR | MRR, filtered | published MAP | published MRR |"
echo "|---|---|---|---|---|---|"
for model; do
    reports=() cell=()
    [ "$model" != evolvegcn-o ] || cell=(--cell gru) # the code's -O, whose numbers were published
    for seed in $(seq 0 $((SEEDS - 1))); do
        train "uci-$model-$seed" --settings "$here/uci.yaml" --model "$model" "${cell[@]}" --seed "$seed"
        reports+=("$report")
    done
    echo "| $model | $(link_of test map "${reports[@]}" | spread 1) | $(link_of test mrr "${reports[@]}" | spread 1) | $(link_of test mrr_filtered "${reports[@]}" | spread 1) | ${map[$model]} | ${mrr[$model]} |"
done
