# shellcheck shell=bash
# Bytes of the graph to the device in a run of two epochs, two layers (sourced): four walks over the
# timeline in one block, two of training, whose backward passes send nothing, one for validation and
# one for the final scores.
# The model does not change them; precomputation is off, else the first layer needs no snapshots.
same=(--model gcn --layers 2 --hidden 2 --task link --features degree --edge-head dot --negatives 1
    --eval-negatives 1 --pairs 20 --epochs 2 --eval-every 2 --precompute off --blocks 1)
passes=4

# sent RANKS NAME GRAPH OPTIONS…: bytes.
sent() {
    run "$@"
    [ -z "$summary" ] || get '.bytes_run.graph_to_device'
}

# counted GRAPH LIFE RANKS FILE: what flipbook simulate counts for chunks of time, as JSON.
counted() {
    [ -s "$4" ] || "$FLIPBOOK" simulate "$OUT/$1.h5" --model gcn --layers 2 --hidden 2 --edge-life "$2" --ranks "$3" --json >"$4"
}

say "transfers by edge life"
printf 'graph\tlife\tfull\tdelta\tresident\tdifferences\n' >"$OUT/transfers.tsv"
for graph in "${real[@]}" "${made[@]}"; do
    lives='1 10'
    [[ " ${real[*]} " != *" $graph "* ]] || lives='1 2 5 10 20'
    # Events are sent once, whatever their life.
    resident=$(sent 1 "transfer-$graph-resident" "$graph" "${same[@]}" --edge-life 10 --transfer resident)
    for life in $lives; do
        row=$graph$'\t'$life
        for how in full delta; do
            row+=$'\t'$(sent 1 "transfer-$graph-$life-$how" "$graph" "${same[@]}" --edge-life "$life" --transfer $how)
        done
        file=$OUT/counted-$graph-$life.json
        counted "$graph" "$life" 1 "$file"
        echo "$row"$'\t'"$resident"$'\t'"$(jq ".rows[0].graph_to_device.differences * $passes" "$file")" >>"$OUT/transfers.tsv"
    done
done

# A chunk is what a rank holds of the timeline: its first snapshot comes in full, so that the gain
# shrinks as ranks share the time. Real runs on 1, 2 and 4 ranks; longer rows of ranks are counted.
say "transfers by chunk length"
printf 'graph\tranks\tchunk\tkind\tfull\tdelta\tresident\n' >"$OUT/chunks.tsv"
chunked=(${real[0]:+"${real[0]}"} ${real[2]:+"${real[2]}"} sbm-drift)
for graph in "${chunked[@]}"; do
    steps=$("$FLIPBOOK" info "$OUT/$graph.h5" --json | jq '.n_steps // .steps')
    file=$OUT/counted-$graph-chunks.json
    counted "$graph" 10 1,2,4,8,16,32 "$file"
    jq -r --arg g "$graph" --arg t "$steps" --arg p "$passes" '.rows[] | select(.distribute == "time") | .graph_to_device as $b |
        [$g, .ranks, ($t | tonumber) / .ranks, "counted", ($p | tonumber) * $b.full, ($p | tonumber) * $b.delta, $b.resident] | @tsv' "$file" >>"$OUT/chunks.tsv"
    for ranks in 1 2 4; do
        row=$graph$'\t'$ranks$'\t'$(awk -v t="$steps" -v r=$ranks 'BEGIN { printf "%g", t / r }')$'\t'sent
        for how in full delta resident; do
            row+=$'\t'$(sent $ranks "chunk-$graph-$ranks-$how" "$graph" "${same[@]}" --edge-life 10 --distribute time --transfer $how)
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
for graph in "${chunked[@]}"; do
    i=$((i + 1))
    chunks+="${chunks:+, }'$OUT/chunks.tsv' using (stringcolumn(1) eq '$graph' && stringcolumn(4) eq 'counted' ? \$3 : NaN):(\$5/\$6) with linespoints lt $i title '$graph'"
done
draw "$OUT/transfers.png" "
set multiplot layout 1,2
set logscale x
set xlabel 'edge life (steps)'
set ylabel 'bytes in full / bytes as differences'
set title 'Graph differences, whole timeline on a rank'
set key top right
set xtics (1, 2, 5, 10, 20)
plot [0.9:25][0:] $lives, 1 with lines lt 7 dt 2 notitle
set xlabel 'steps of a chunk (edge life 10)'
set title 'The gain needs long chunks'
set key top left
set xtics (2, 5, 10, 20, 50, 100, 200)
plot [1.8:200][0:10] $chunks, 1 with lines lt 7 dt 2 notitle
unset multiplot"
