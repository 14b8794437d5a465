# shellcheck shell=bash
# Bytes between ranks, one epoch of a two-layer CD-GCN of 8 columns (forward and backward, all ranks
# together), and of a two-layer TM-GCN for the window, whose band of the features is not kept, so that
# every epoch exchanges it (sourced). Few pairs are scored, so that rows of
# pairs, which sampling draws everywhere, do not hide the halo.
graph=${real[0]:-payments}
graph_exchanged=$graph
cd_gcn=(--model cdgcn --layers 2 --hidden 8 --features degree --edge-life 10)
tm_gcn=(--model tmgcn --layers 2 --hidden 8 --features degree --edge-life 10 --window 10 --precompute off)
task=(--task link --edge-head dot --negatives 1 --eval-negatives 1 --pairs 1 --epochs 3 --eval-every 3 --split-steps)
steps=$("$FLIPBOOK" info "$OUT/$graph.h5" --json | jq '.n_steps // .steps')
# Nearly all steps train, so that no rank is without pairs.
split=$((steps - 2)),1,1
for method in metis random; do
    [ -f "$OUT/$graph-$method.h5" ] || "$FLIPBOOK" partition "$OUT/$graph.h5" -o "$OUT/$graph-$method.h5" --parts 1024 --method $method >"$OUT/partition-$method.log" 2>&1
done

# row MODEL DISTRIBUTION PARTITION RANKS: a line of exchanges.tsv from $summary.
row() {
    [ -z "$summary" ] || printf '%s\t%s\t%s\t%s\t%s\t%s\t%s\n' "$1" "$2" "$3" "$4" \
        "$(get '.bytes.halo + .bytes.redistribute + .bytes.state + .bytes.window')" \
        "$(get '.seconds_per_epoch')" "$(get '.cpu_seconds_per_epoch / .ranks')" >>"$OUT/exchanges.tsv"
}

say "exchanges on 1 to 4 ranks"
printf 'model\tdistribution\tparts\tranks\tbytes\tseconds\tcpu\n' >"$OUT/exchanges.tsv"
for ranks in 1 2 3 4; do
    for method in metis random; do
        run $ranks "exchange-nodes-$method-$ranks" "$graph-$method" "${cd_gcn[@]}" "${task[@]}" "$split" --distribute nodes
        row cdgcn nodes $method $ranks
    done
    for how in time wavefront grid; do
        run $ranks "exchange-$how-$ranks" "$graph-metis" "${cd_gcn[@]}" "${task[@]}" "$split" --distribute $how
        row cdgcn $how metis $ranks
    done
    run $ranks "exchange-window-$ranks" "$graph-metis" "${tm_gcn[@]}" "${task[@]}" "$split" --distribute window
    row tmgcn window metis $ranks
    run $ranks "exchange-evolve-$ranks" "$graph-metis" --model evolvegcn-o --layers 2 --hidden 8 --features degree --edge-life 10 "${task[@]}" "$split" --distribute time
    row evolvegcn-o time metis $ranks
done

# The same, and rank counts that this machine does not have: counted from graph and partition.
say "exchanges on 1 to 1,024 ranks, counted"
printf 'model\tdistribution\tparts\tranks\tbytes\tseconds\n' >"$OUT/simulate.tsv"
for method in metis random; do
    for model in cdgcn evolvegcn-o tmgcn; do
        more=()
        [ $model != tmgcn ] || more=(--window 10 --precompute off)
        "$FLIPBOOK" simulate "$OUT/$graph-$method.h5" --ranks 1,2,3,4,8,16,32,64,128,256,512,1024 --model $model --layers 2 --hidden 8 --edge-life 10 \
            "${more[@]}" --inputs 2 --bandwidth "$BANDWIDTH" --latency "$LATENCY" --json >"$OUT/simulate-$model-$method.json"
        jq -r --arg m $method --arg n $model '.rows[] | [$n, .distribute, $m, .ranks,
            (.bytes.halo + .bytes.redistribute + .bytes.state + .bytes.window), .seconds] | @tsv' "$OUT/simulate-$model-$method.json" >>"$OUT/simulate.tsv"
    done
done

curve() { echo "using (stringcolumn(2) eq '$1' && stringcolumn(3) eq '$2' && stringcolumn(1) eq '$3' ? \$4 : NaN):(\$5/1e6)"; }
real_lines="'$OUT/exchanges.tsv' $(curve nodes random cdgcn) with linespoints lt 2 title 'nodes, random parts'
 , '' $(curve nodes metis cdgcn) with linespoints lt 5 title 'nodes, METIS'
 , '' $(curve time metis cdgcn) with linespoints lt 1 title 'time (redistribution)'
 , '' $(curve grid metis cdgcn) with linespoints lt 6 title 'grid'
 , '' $(curve wavefront metis cdgcn) with linespoints lt 3 title 'wavefront'
 , '' $(curve window metis tmgcn) with linespoints lt 4 title 'window (TM-GCN)'"
real_lines=${real_lines//$'\n'/}
counted="'$OUT/simulate.tsv' $(curve nodes random cdgcn) with linespoints lt 2 title 'nodes, random parts'
 , '' $(curve nodes metis cdgcn) with linespoints lt 5 title 'nodes, METIS'
 , '' $(curve time metis cdgcn) with linespoints lt 1 title 'time (redistribution)'
 , '' $(curve grid metis cdgcn) with linespoints lt 6 title 'grid'
 , '' $(curve wavefront metis cdgcn) with linespoints lt 3 title 'wavefront'
 , '' $(curve window metis tmgcn) with linespoints lt 4 title 'window (TM-GCN)'"
counted=${counted//$'\n'/}
HEIGHT=560 draw "$OUT/exchanges.png" "
set multiplot layout 1,2
set xlabel 'ranks'
set ylabel 'MB between ranks, an epoch'
set title '$graph: real runs (EvolveGCN-O by time: no bytes)'
set key top left
set logscale y
set xtics 1
plot [0.9:4.1][0.3:300000] $real_lines
set logscale x
set xtics (2, 4, 16, 64, 256, 1024)
set xlabel 'ranks (counted, not run)'
set title '$graph: 2 to 1,024 ranks'
plot [1.7:1300][0.3:300000] $counted
unset multiplot"
