#!/usr/bin/env bash
# Dynamic link prediction on enron10 (184 people, 11 months): AUC of the last three months, mean ±
# standard deviation of SEEDS seeds. The AUC is taken over all pairs of a month, which is what the
# published one, over as many drawn non-edges as edges, estimates. Settings stand in enron10.yaml
# beside this script. See common.sh for variables.
#
#   experiments/accuracy/enron10.sh [MODEL…]        default: cdgcn evolvegcn-h gcn
# shellcheck source=experiments/accuracy/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
[ $# -gt 0 ] || set -- cdgcn evolvegcn-h gcn

# Papers with Code: EvolveGCN-O 86.55, -H 89.33; VGRNN's own result 93.10.
declare -A published=([evolvegcn-h]=89.33 [evolvegcn-o]=86.55)

graph enron10 "$DATA/enron/enron10_edges.tsv" --columns time,src,dst --step 1 --undirected --nodes 184
echo "| model | AUC, % | MAP | MRR | AUC published | at least |"
echo "|---|---|---|---|---|---|"
for model; do
    reports=()
    for seed in $(seq 0 $((SEEDS - 1))); do
        train "enron10-$model-$seed" --settings "$here/enron10.yaml" --model "$model" --seed "$seed"
        reports+=("$report")
    done
    echo "| $model | $(of test "${reports[@]}" | spread 100) | $(link_of test map "${reports[@]}" | spread 1) | $(link_of test mrr "${reports[@]}" | spread 1) | ${published[$model]:--} | 87 (cdgcn or evolvegcn-h) |"
done
