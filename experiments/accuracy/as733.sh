#!/usr/bin/env bash
# EvolveGCN-H and -O on the first 100 days of as-733 under the protocol of the EvolveGCN code (Pareja et al., AAAI
# 2020): test MAP and MRR over all pairs of a step at the best validation MAP, mean ± standard
# deviation of SEEDS seeds (5), beside the published numbers and GCN. Settings stand in as733.yaml
# beside this script. The graph has the 3,569 systems of these days. See common.sh for variables.
#
#   experiments/accuracy/as733.sh [MODEL…]        default: evolvegcn-h evolvegcn-o gcn
SEEDS=${SEEDS:-5}
# shellcheck source=experiments/accuracy/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
[ $# -gt 0 ] || set -- evolvegcn-h evolvegcn-o gcn
declare -A map=([evolvegcn-h]=.1534 [evolvegcn-o]=.1139 [gcn]=.0003) mrr=([evolvegcn-h]=.3632 [evolvegcn-o]=.2746 [gcn]=.0555)

graph as733 "$DATA/as-733/first100.tsv.zst" --columns time,src,dst --step 1 --undirected
echo "| model | MAP | MRR | MRR, filtered | published MAP | published MRR |"
echo "|---|---|---|---|---|---|"
for model; do
    reports=() cell=()
    [ "$model" != evolvegcn-o ] || cell=(--cell gru) # the code's -O, whose numbers were published
    for seed in $(seq 0 $((SEEDS - 1))); do
        train "as733-$model-$seed" --settings "$here/as733.yaml" --model "$model" "${cell[@]}" --seed "$seed"
        reports+=("$report")
    done
    echo "| $model | $(link_of test map "${reports[@]}" | spread 1) | $(link_of test mrr "${reports[@]}" | spread 1) | $(link_of test mrr_filtered "${reports[@]}" | spread 1) | ${map[$model]} | ${mrr[$model]} |"
done
