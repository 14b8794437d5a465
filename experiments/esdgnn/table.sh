# shellcheck shell=bash
# table.md: what was measured, counted or modelled, in words and tables for the README (sourced).
tsv() { # FILE HEAD FORMAT: rows of a .tsv as a Markdown table through an awk format
    [ -s "$1" ] || return 0
    awk -F'\t' "$2" "$1"
}
cat <<EOF
# The SC'21 story on this machine

$(date +%F), $(nproc) cores, $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1), one thread a rank, $("$FLIPBOOK" --version | head -1).
Made by \`experiments/esdgnn/run.sh\` in $(((SECONDS - began) / 60)) min $(((SECONDS - began) % 60)) s.

| numbers | kind |
|---|---|
| bytes to the device, bytes between ranks on 1 to 4 ranks | counted in real runs, where they are sent |
| bytes between 2 to 1,024 ranks | counted from the graph and its partition by \`flipbook simulate\`; nothing was sent |
| seconds at 2 to 1,024 ranks | modelled: measured kernels and a stated network |
| memory, seconds of an epoch | measured here |

Generated stand-ins have the published nodes, events and steps of the paper's graphs times $SCALE (steps as published); they are
not those graphs.

## Bytes of the graph to the device in a run of two epochs

Two layers, forward and backward, whole timeline on one rank, one pass for the scores. Full: every snapshot, 12 bytes a stored entry.
Delta: graph differences patched on the device; a step whose difference is larger comes in full, so they never lose, but at edge
life 1, where little stays from step to step, they gain next to nothing (bold). Resident: events once a run.

| graph | edge life | full, MB | delta | resident |
|---|---|---|---|---|
EOF
tsv "$OUT/transfers.tsv" 'NR > 1 { d = ($4 > 0) ? $3 / $4 : 0; r = ($5 > 0) ? $3 / $5 : 0
    printf "| %s | %s | %.2f | %s | %.1f x |\n", $1, $2, $3 / 1e6, (d < 1.1) ? sprintf("**%.2f x**", d) : sprintf("%.2f x", d), r }'
cat <<EOF

![](transfers.png)

By steps of a chunk (what a rank holds of a block; its first snapshot comes in full), edge life 10:

| graph | chunk | full, MB | delta | resident |
|---|---|---|---|---|
EOF
tsv "$OUT/chunks.tsv" 'NR > 1 { printf "| %s | %s | %.2f | %.2f x | %.1f x |\n", $1, $2, $3 / 1e6, ($4 > 0) ? $3 / $4 : 0, ($5 > 0) ? $3 / $5 : 0 }'
cat <<EOF

## Bytes between ranks, an epoch (real runs)

CD-GCN, two layers of 8 columns, edge life 10; window: TM-GCN, window 10. Pairs' rows and the all-reduce of weights are not exchanges
of the distribution; the former are in \`nodes\`, whose halo they are.

| model | distribution | parts | 1 rank | 2 ranks | 3 ranks | 4 ranks |
|---|---|---|---|---|---|---|
EOF
tsv "$OUT/exchanges.tsv" 'NR > 1 { k = "| " $1 " | " $2 " | " $3; if (!(k in seen)) { seen[k] = 1; order[++n] = k } v[k, $4] = sprintf("%.3f MB", $5 / 1e6) }
    END { for (i = 1; i <= n; i++) { printf "%s", order[i]; for (r = 1; r <= 4; r++) { k = order[i] SUBSEP r; printf " | %s", (k in v) ? v[k] : "-" } print " |" } }'
if [ -s "$OUT/simulate.tsv" ]; then
    cat <<EOF

Counted, not run:

| distribution | parts | ranks | MB an epoch | seconds (modelled) |
|---|---|---|---|---|
EOF
    tsv "$OUT/simulate.tsv" 'NR > 1 && ($4 == 4 || $4 == 16 || $4 == 128 || $4 == 1024) { printf "| %s | %s | %s | %.3f | %s |\n", $2, $3, $4, $5 / 1e6, $6 }'
fi
cat <<EOF

![](exchanges.png)

## Memory against blocks (measured)

| blocks | MB above the loaded graph | seconds an epoch |
|---|---|---|
EOF
tsv "$OUT/memory.tsv" 'NR > 1 { printf "| %s | %.0f | %.2f |\n", $1, $3 / 1e6, $4 }'
cat <<EOF

![](memory.png)

## Where an epoch goes (measured)

EOF
tsv "$OUT/time.tsv" 'NR == 1 { printf "|"; for (i = 1; i <= NF; i++) printf " %s |", $i; printf "\n|"; for (i = 1; i <= NF; i++) printf "---|"; print "" }
    NR > 1 { printf "| %s | %s |", $1, $2; for (i = 3; i <= NF; i++) printf " %.3f |", $i; print "" }'
printf '\n![](time.png)\n'
