# shellcheck shell=bash
# table.md: what was measured, counted or modelled, in words and tables for the README (sourced).
tsv() { # FILE PROGRAM: rows of a .tsv as a Markdown table through an awk program
    [ -s "$1" ] || return 0
    awk -F'\t' "$2" "$1"
}
cat <<EOF
# The SC'21 story on this machine

$(date +%F), $(getconf _NPROCESSORS_ONLN) cores, $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1), one thread a rank, $("$FLIPBOOK" --version | head -1).
Made by \`experiments/esdgnn/run.sh\` in $(((SECONDS - began) / 60)) min $(((SECONDS - began) % 60)) s.

| numbers | kind |
|---|---|
| bytes to the device, by edge life; bytes between 1 to 4 ranks | measured: counted where they are sent, in real runs |
| bytes by chunk length (rows "counted"), differences without fallback, bytes between 1 to 1,024 ranks | counted from the graph and its parts by \`flipbook simulate\`; nothing was sent; on 1 to 4 ranks beside what real runs sent |
| seconds at 1 to 1,024 ranks | modelled: kernels measured here for a moment, a network of $BANDWIDTH GB/s a rank and $LATENCY us, no overlap; on 1 to 4 ranks beside real runs |
| memory, seconds of an epoch | measured here |

Generated stand-ins have the published nodes, events and steps of the paper's graphs times $SCALE (steps as published); they are
not those graphs.

EOF
[ ! -s "$OUT/transfers.tsv" ] || cat <<EOF
## Bytes of the graph to the device in a run of two epochs

Two layers, whole timeline on one rank: two passes of training, one of validation, one for the final scores. Full: every snapshot, 12 bytes a stored entry.
Delta: graph differences patched on the device; a step whose difference is larger comes in full, so delta never loses, but where
little stays from step to step it gains next to nothing; differences without that fallback would lose (bold, below 1).
Resident: events once a run.

| graph | edge life | full, MB | delta | without fallback | resident |
|---|---|---|---|---|---|
EOF
tsv "$OUT/transfers.tsv" 'function ratio(x, y, form) { return y > 0 ? sprintf(form " x", x / y) : "-" }
    NR > 1 { alone = ratio($3, $6, "%.2f"); if ($6 > $3) alone = "**" alone "**"
    printf "| %s | %s | %.2f | %s | %s | %s |\n", $1, $2, $3 / 1e6, ratio($3, $4, "%.2f"), alone, ratio($3, $5, "%.1f") }'
[ ! -s "$OUT/chunks.tsv" ] || cat <<EOF

![](transfers.png)

By steps of a chunk (what a rank holds when ranks share the time; its first snapshot comes in full), edge life 10:

| graph | ranks | steps of a chunk | full, MB | delta | resident | kind |
|---|---|---|---|---|---|---|
EOF
[ ! -s "$OUT/chunks.tsv" ] || awk -F'\t' 'FNR == 1 { file++; next } { k = $1 FS $2; all = $5 FS $6 FS $7 }
    file == 1 && $4 == "sent" { sent[k] = all }
    file == 2 && $4 == "counted" { kind = !(k in sent) ? "counted" : sent[k] == all ? "measured, counted the same" : "counted; a run sent other bytes: " sent[k]
        printf "| %s | %s | %.1f | %.2f | %.2f x | %.1f x | %s |\n", $1, $2, $3, $5 / 1e6, ($6 > 0) ? $5 / $6 : 0, ($7 > 0) ? $5 / $7 : 0, kind }' "$OUT/chunks.tsv" "$OUT/chunks.tsv"
if [ -s "$OUT/exchanges.tsv" ]; then
    cat <<EOF

## Bytes between ranks, an epoch (real runs)

$graph_exchanged, CD-GCN, two layers of 8 columns, edge life 10. Rows of the few scored pairs are in \`nodes\` and \`grid\`, whose halo
they are; the all-reduce of weights is not in. TM-GCN: window 10, nothing kept from epoch to epoch. EvolveGCN-O exchanges nothing.

| model | distribution | parts | 1 rank | 2 ranks | 3 ranks | 4 ranks |
|---|---|---|---|---|---|---|
EOF
    tsv "$OUT/exchanges.tsv" 'NR > 1 { k = "| " $1 " | " $2 " | " $3; if (!(k in seen)) { seen[k] = 1; order[++n] = k } v[k, $4] = sprintf("%.3f MB", $5 / 1e6) }
        END { for (i = 1; i <= n; i++) { printf "%s", order[i]; for (r = 1; r <= 4; r++) { k = order[i] SUBSEP r; printf " | %s", (k in v) ? v[k] : "-" } print " |" } }'
    cat <<EOF

Counted from the graph and its parts by \`flipbook simulate\`; "measured" are the real runs above, their pairs included: wall seconds
on $(getconf _NPROCESSORS_ONLN) cores, where more ranks than cores take turns, and CPU seconds of a rank, its waiting included:

| model | distribution | parts | ranks | MB an epoch, counted | measured | seconds, modelled | measured, wall | measured, CPU |
|---|---|---|---|---|---|---|---|---|
EOF
    awk -F'\t' 'FNR == 1 { file++; next } { k = $1 FS $2 FS $3 FS $4 }
        file == 1 { bytes[k] = $5; seconds[k] = $6; cpu[k] = $7; next }
        (k in bytes) || $4 == 16 || $4 == 128 || $4 == 1024 {
            printf "| %s | %s | %s | %s | %.3f | %s | %.3f | %s | %s |\n", $1, $2, $3, $4, $5 / 1e6,
                (k in bytes) ? sprintf("%.3f", bytes[k] / 1e6) : "-", $6, (k in bytes) ? sprintf("%.3f", seconds[k]) : "-", (k in bytes) ? sprintf("%.3f", cpu[k]) : "-" }' "$OUT/exchanges.tsv" "$OUT/simulate.tsv"
    printf '\n![](exchanges.png)\n'
fi
[ ! -s "$OUT/memory.tsv" ] || cat <<EOF

## Memory against blocks (measured)

| blocks | MB above the loaded graph | CPU seconds an epoch |
|---|---|---|
EOF
tsv "$OUT/memory.tsv" 'NR > 1 { printf "| %s | %.0f | %.2f |\n", $1, $3 / 1e6, $4 }'
[ ! -s "$OUT/time.tsv" ] || cat <<EOF

![](memory.png)

## Where an epoch goes (measured; means over epochs and ranks)

EOF
tsv "$OUT/time.tsv" 'NR == 1 { printf "|"; for (i = 1; i <= NF; i++) printf " %s |", $i; printf "\n|"; for (i = 1; i <= NF; i++) printf "---|"; print "" }
    NR > 1 { printf "| %s | %s |", $1, $2; for (i = 3; i <= NF; i++) printf " %.3f |", $i; print "" }'
[ ! -s "$OUT/time.tsv" ] || printf '\n![](time.png)\n'
