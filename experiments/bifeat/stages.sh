# shellcheck shell=bash
# Where a sampled epoch goes with float32 and packed rows, and when compressing has paid (sourced).
graph products
printf 'rows\tsample\tfetch\taggregate\tdense\trest\tepoch\tpeak_mb\tcompress\n' >"$OUT/stages.tsv"
for way in float32 bf16 uniform:8 lloyd:4:shared opq:16x256; do
    file=products seconds=0
    if [ $way != float32 ]; then
        compressed products "$way" || continue
        file=products+${way//:/-} seconds=$(jq '.learn_seconds + .encode_seconds' <<<"$said")
    fi
    run 1 "stages-$file" "$file" --model sage --task node --layers 2 --hidden 64 --batch 1024 --fanout 15,10 --epochs 4 --eval-every 4 --seed 1 --prefetch 0
    jq -r --arg w "$way" --argjson s "$seconds" '.stage_seconds as $t | [$w, $t.sample, $t.fetch, $t.aggregate, $t.dense,
        ([.cpu_seconds_per_epoch - $t.sample - $t.fetch - $t.aggregate - $t.dense, 0] | max), .cpu_seconds_per_epoch, (.peak_rss_bytes / 1e6), $s] | @tsv' \
        <<<"$summary" >>"$OUT/stages.tsv"
    say "stages: $way"
done
draw "$OUT/stages.png" "
set title 'Seconds of a sampled epoch by stage, one thread'
set style data histograms
set style histogram rowstacked
set style fill solid
set boxwidth 0.6
set key outside right
set ylabel 'seconds an epoch'
set yrange [0:*]
plot '$OUT/stages.tsv' using 2:xtic(1) title 'sample', '' using 3 title 'fetch', '' using 4 title 'aggregate', '' using 5 title 'dense', '' using 6 title 'rest'"
