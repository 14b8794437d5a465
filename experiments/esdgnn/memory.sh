# shellcheck shell=bash
# Peak memory above the loaded graph against the number of blocks: a two-layer CD-GCN on a drifting
# graph of many steps, with node labels, so that no pairs take memory of their own (sourced).
add made long generate sbm --nodes 4000 --steps 100 --degree-in 3 --degree-out 1 --drift 0.01 --features 4 --seed 2
say "memory against blocks"
printf 'blocks\tpeak\tabove\tcpu seconds\tstates\n' >"$OUT/memory.tsv"
for blocks in 1 2 5 10 20 50 100; do
    run 1 "memory-$blocks" long --model cdgcn --layers 2 --hidden 16 --task node --edge-life 5 --epochs 3 --eval-every 3 --blocks $blocks
    [ -z "$summary" ] || get "[$blocks, .peak_rss_bytes, .peak_rss_bytes - .loaded_rss_bytes, .cpu_seconds_per_epoch, .carry_bytes] | @tsv" >>"$OUT/memory.tsv"
done
first=$(awk -F"\t" '$1 == 1 { print $3 / 1e6 }' "$OUT/memory.tsv")
draw "$OUT/memory.png" "
set multiplot layout 1,2
set logscale x
set xlabel 'blocks of the timeline'
set ylabel 'MB above the loaded graph'
set title 'Peak memory, CD-GCN, 4,000 nodes x 100 steps'
plot [0.9:120][0:] '$OUT/memory.tsv' using 1:(\$3/1e6) with linespoints lt 1 title 'measured', '' using 1:($first / \$1 + \$5/1e6) with lines lt 7 dt 2 title 'one block / blocks + states between them'
set ylabel 'CPU seconds an epoch'
set key bottom right
set title 'What it costs: one forward more'
plot [0.9:120][0:] '$OUT/memory.tsv' using 1:4 with linespoints lt 2 title 'measured', 4.0 / 3 * $(awk -F"\t" '$1 == 1 { print $4 }' "$OUT/memory.tsv") with lines lt 7 dt 2 title '4/3 of one block'
unset multiplot"
