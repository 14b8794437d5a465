# shellcheck shell=bash
# table.md: what was counted and what was measured (sourced).
tsv() { # FILE PROGRAM: rows of a .tsv through an awk program, where the part was run
    [ -s "$1" ] || return 0
    awk -F'\t' "$2" "$1"
}
cat <<EOF
# Packed features on this machine

$(date +%F), $(env -u OMP_NUM_THREADS nproc) cores, $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1), $("$FLIPBOOK" --version | head -1).
Made by \`experiments/bifeat/run.sh\` in $(((SECONDS - began) / 60)) min $(((SECONDS - began) % 60)) s.

Bytes and hits are counted, errors computed on rows held out of learning, accuracies and seconds measured here. Ratios are native bytes (the
smaller of dense float32 and CSR) over stored bytes: codes, tables and padding.

## Accuracy

GraphSAGE, full batch, two layers, hidden 64, ${EPOCHS:-100} epochs, $SEEDS seeds; test at the best validation epoch. "alone": the same layers
without edges. Differences are to float32 of the same seeds, ± the standard error of their mean.

| graph | asked | codec | ratio | accuracy, % | difference, points |
|---|---|---|---|---|---|
EOF
tsv "$OUT/accuracy.tsv" 'NR > 1 { printf "| %s | %s | %s | %.1f | %s ± %s | %s ± %s |\n", $1, $2, $3, $4, $5, $6, $7, $8 }'
cat <<EOF

## Distortion

| graph | codec | ratio | bits a value | error / variance |
|---|---|---|---|---|
EOF
tsv "$OUT/distortion.tsv" 'NR > 1 { printf "| %s | %s%s | %.1f | %.2f | %.4f |\n", $1, $3, ($2 == $3 ? "" : " (" $2 ")"), $4, $5, $6 }'
cat <<EOF

## Cache

Two ranks, $(awk 'BEGIN { print '"$SCALE"' * 100 }') % of the size of ogbn-products, fanout 10,10; cache of a rank in percent of the bytes of all float32 rows.

| rows | hot by | cache, % | hits, % | to device, MB an epoch | remote, MB an epoch |
|---|---|---|---|---|---|
EOF
tsv "$OUT/cache.tsv" 'NR > 1 { printf "| %s | %s | %s | %.1f | %.2f | %.2f |\n", $1, $2, $3, 100 * $4, $5 / 1e6, $6 / 1e6 }'
cat <<EOF

## Two levels

Bytes of a row, stored (with tables) and moved: what a row costs that sampled batches read, on average. "refined": none, labelled
nodes (seeds), the share of nodes whose error labelled nodes feel most, all.

| graph | codec | refined | stored | moved | accuracy, % | difference, points |
|---|---|---|---|---|---|---|
EOF
tsv "$OUT/refine.tsv" 'NR > 1 { printf "| %s | %s | %s | %s | %s | %s ± %s | %s ± %s |\n", $1, $2, $3, $4, $5, $6, $7, $8, $9 }'
cat <<EOF

## Stages

An epoch of one thread, fanout 15,10: stages by the clock, the whole in CPU seconds, rest what is left of it (0 where a busy machine made
the stages longer than that); epochs after which compressing has paid for itself.

| rows | sample | fetch | aggregate | dense | rest | epoch | peak, MB | compressing, s | pays after |
|---|---|---|---|---|---|---|---|---|---|
EOF
tsv "$OUT/stages.tsv" 'NR == 2 { whole = $7 } NR > 1 { gain = whole - $7
    printf "| %s | %.3f | %.3f | %.3f | %.3f | %.3f | %.3f | %.0f | %.2f | %s |\n", $1, $2, $3, $4, $5, $6, $7, $8, $9,
        (NR == 2 ? "" : gain > 0 ? sprintf("%d", $9 / gain + 1) : "never") }'
