#!/usr/bin/env bash
# GCN, GAT and GraphSAGE-mean on Cora, Citeseer and PubMed, public split: test accuracy at the best
# validation epoch, mean ± standard deviation of 10 seeds, beside the published numbers.
# Settings stand in gcn.yaml, gat.yaml, sage.yaml beside this script. See common.sh for variables.
#
#   experiments/accuracy/citations.sh [MODEL…]
# shellcheck source=experiments/accuracy/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
[ $# -gt 0 ] || set -- gcn gat sage

# GCN: Kipf and Welling 2017; GAT, GraphSAGE: the runs of DGL's examples.
declare -A published=([gcn-cora]=81.5 [gcn-citeseer]=70.3 [gcn-pubmed]=79.0
    [gat-cora]=82.1 [gat-citeseer]=71.0 [gat-pubmed]=78.0 [sage-cora]=83.3 [sage-citeseer]=71.1 [sage-pubmed]=78.3)
declare -A wanted=([gcn-cora]=81.0 [gcn-citeseer]=69.8 [gcn-pubmed]=78.5
    [gat-cora]=81.0 [gat-citeseer]=69.5 [gat-pubmed]=77.0 [sage-cora]=79.0 [sage-citeseer]=68.0 [sage-pubmed]=76.5)

echo "| model | data | accuracy, % | published | at least |"
echo "|---|---|---|---|---|"
for model; do
    for data in ${SETS:-cora citeseer pubmed}; do
        graph $data "$DATA/$data"
        settings=$here/$model.yaml
        [ ! -f "$here/$model-$data.yaml" ] || settings=$here/$model-$data.yaml
        reports=()
        for seed in $(seq 0 $((SEEDS - 1))); do
            train "$model-$data-$seed" --settings "$settings" --seed "$seed"
            reports+=("$report")
        done
        echo "| $model | $data | $(of test "${reports[@]}" | spread 100) | ${published[$model-$data]} | ${wanted[$model-$data]} |"
    done
done
