# shellcheck shell=bash
# Bytes of the graph to the device in a run of two epochs (forward and backward) and one pass for the
# scores, two layers, one rank (sourced).
# The model does not change them; precomputation is off, else the first layer needs no snapshots.
same=(--model gcn --layers 2 --hidden 2 --task link --features degree --edge-head dot --negatives 1
    --eval-negatives 1 --pairs 20 --epochs 2 --eval-every 2 --precompute off)

# sent NAME GRAPH OPTIONS…: bytes.
sent() {
    run 1 "$@"
    [ -z "$summary" ] || get '.bytes_run.graph_to_device'
}

say "transfers by edge life"
printf 'graph\tlife\tfull\tdelta\tresident\n' >"$OUT/transfers.tsv"
for graph in "${real[@]}" "${made[@]}"; do
    lives='1 10'
    [[ " ${real[*]} " != *" $graph "* ]] || lives='1 2 5 10 20'
    # Events are sent once, whatever their life.
    resident=$(sent "transfer-$graph-resident" "$graph" "${same[@]}" --edge-life 10 --transfer resident --blocks 1)
    for life in $lives; do
        row=$graph$'\t'$life
        for how in full delta; do
            row+=$'\t'$(sent "transfer-$graph-$life-$how" "$graph" "${same[@]}" --edge-life "$life" --transfer $how --blocks 1)
        done
        echo "$row"$'\t'"$resident" >>"$OUT/transfers.tsv"
    done
done

# A chunk is what a rank holds of a block: its first snapshot comes in full.
say "transfers by chunk length"
printf 'graph\tchunk\tfull\tdelta\tresident\n' >"$OUT/chunks.tsv"
for graph in ${real[0]:-} ${real[2]:-} sbm-drift; do
    steps=$("$FLIPBOOK" info "$OUT/$graph.h5" --json | jq '.n_steps // .steps')
    for chunk in 2 5 10 25 "$steps"; do
        blocks=$(((steps + chunk - 1) / chunk)) row=$graph$'\t'$chunk
        for how in full delta resident; do
            row+=$'\t'$(sent "chunk-$graph-$chunk-$how" "$graph" "${same[@]}" --edge-life 10 --transfer $how --blocks "$blocks")
        done
        echo "$row" >>"$OUT/chunks.tsv"
    done
done

lives='' chunks='' i=0
for graph in "${real[@]:-sbm-drift}"; do
    i=$((i + 1))
    lives+="${lives:+, }'$OUT/transfers.tsv' using (stringcolumn(1) eq '$graph' ? \$2 : NaN):(\$3/\$4) with linespoints lt $(((i - 1) % 7 + 1)) title '$graph'"
done
i=0
for graph in ${real[0]:-} ${real[2]:-} sbm-drift; do
    i=$((i + 1))
    chunks+="${chunks:+, }'$OUT/chunks.tsv' using (stringcolumn(1) eq '$graph' ? \$2 : NaN):(\$3/\$4) with linespoints lt $i title '$graph'"
done
draw "$OUT/transfers.png" "
set multiplot layout 1,2
set logscale x
set xlabel 'edge life (steps)'
set ylabel 'bytes in full / bytes as differences'
set title 'Graph differences, whole timeline on a rank'
set key top left
plot [0.9:25][0:] $lives, 1 with lines lt 7 dt 2 notitle
set xlabel 'steps of a chunk (edge life 10)'
set title 'The gain needs long chunks'
plot [1.8:200][0:] $chunks, 1 with lines lt 7 dt 2 notitle
unset multiplot"
