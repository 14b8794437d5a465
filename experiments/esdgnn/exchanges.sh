# shellcheck shell=bash
# Bytes between ranks, one epoch of a two-layer CD-GCN of 8 columns (forward and backward, all ranks
# together), and of a two-layer TM-GCN for the window (sourced).
graph=${real[0]:-payments}
cd_gcn=(--model cdgcn --layers 2 --hidden 8 --features degree --edge-life 10)
tm_gcn=(--model tmgcn --layers 2 --hidden 8 --features degree --edge-life 10 --window 10)
task=(--task link --edge-head dot --negatives 1 --eval-negatives 1 --epochs 1 --split-steps)
steps=$("$FLIPBOOK" info "$OUT/$graph.h5" --json | jq '.n_steps // .steps')
# Nearly all steps train, so that no rank is without pairs.
split=$((steps - 2)),1,1
for method in metis random; do
    [ -f "$OUT/$graph-$method.h5" ] || "$FLIPBOOK" partition "$OUT/$graph.h5" -o "$OUT/$graph-$method.h5" --parts 1024 --method $method >"$OUT/partition-$method.log" 2>&1
done

# row MODEL DISTRIBUTION PARTITION RANKS: a line of exchanges.tsv from $summary. Pairs' rows are part
# of the halo; they are told apart, since sampling draws them everywhere.
row() {
    [ -z "$summary" ] || printf '%s\t%s\t%s\t%s\t%s\n' "$1" "$2" "$3" "$4" \
        "$(get '.bytes.halo + .bytes.redistribute + .bytes.state + .bytes.window')" >>"$OUT/exchanges.tsv"
}

say "exchanges on 1 to 4 ranks"
printf 'model\tdistribution\tparts\tranks\tbytes\n' >"$OUT/exchanges.tsv"
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

# The same for rank counts that this machine does not have: counted from graph and partition.
: >"$OUT/simulate.tsv"
if "$FLIPBOOK" simulate --help >/dev/null 2>&1; then
    say "exchanges on 2 to 1,024 ranks, counted"
    printf 'model\tdistribution\tparts\tranks\tbytes\tseconds\n' >"$OUT/simulate.tsv"
    for method in metis random; do
        "$FLIPBOOK" simulate "$OUT/$graph-$method.h5" --ranks 2,4,8,16,32,64,128,256,512,1024 --model cdgcn --layers 2 --hidden 8 --edge-life 10 --json >"$OUT/simulate-$method.json"
        jq -r --arg m $method '.rows[] | ["cdgcn", .distribute, $m, .ranks,
            (.bytes.halo + .bytes.redistribute + .bytes.state + .bytes.window), .seconds] | @tsv' "$OUT/simulate-$method.json" >>"$OUT/simulate.tsv"
    done
fi

curve() { echo "using (stringcolumn(2) eq '$1' && stringcolumn(3) eq '$2' && stringcolumn(1) eq '$3' ? \$4 : NaN):(\$5/1e6)"; }
real_lines="'$OUT/exchanges.tsv' $(curve nodes random cdgcn) with linespoints lt 2 title 'nodes, random parts'
 , '' $(curve nodes metis cdgcn) with linespoints lt 5 title 'nodes, METIS'
 , '' $(curve time metis cdgcn) with linespoints lt 1 title 'time (redistribution)'
 , '' $(curve grid metis cdgcn) with linespoints lt 6 title 'grid'
 , '' $(curve wavefront metis cdgcn) with linespoints lt 3 title 'wavefront'
 , '' $(curve window metis tmgcn) with linespoints lt 4 title 'window (TM-GCN)'
 , '' $(curve time metis evolvegcn-o) with linespoints lt 7 title 'time (EvolveGCN-O)'"
real_lines=${real_lines//$'\n'/}
counted=''
[ ! -s "$OUT/simulate.tsv" ] || counted="
set xlabel 'ranks (counted, not run)'
set title '$graph: 2 to 1,024 ranks'
plot [1.7:1300][0.1:20000] '$OUT/simulate.tsv' $(curve nodes random cdgcn) with linespoints lt 2 title 'nodes, random parts', '' $(curve nodes metis cdgcn) with linespoints lt 5 title 'nodes, METIS', '' $(curve time metis cdgcn) with linespoints lt 1 title 'time (redistribution)', '' $(curve wavefront metis cdgcn) with linespoints lt 3 title 'wavefront', '' $(curve grid metis cdgcn) with linespoints lt 6 title 'grid'"
draw "$OUT/exchanges.png" "
set multiplot layout 1,$([ -n "$counted" ] && echo 2 || echo 1)
set xlabel 'ranks'
set xtics 1
set ylabel 'MB between ranks, an epoch'
set title '$graph: real runs'
set key top left
set logscale y
plot [0.9:4.1][0.1:20000] $real_lines
set xtics autofreq
set logscale x
$counted
unset multiplot"
