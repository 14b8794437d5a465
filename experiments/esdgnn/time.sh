# shellcheck shell=bash
# Where an epoch goes, by model, on one thread (sourced).
graph=payments
stages='aggregate dense recurrent pointwise exchange sample loss allreduce optimiser'
say "time of an epoch on $graph"
printf 'model\tranks\tseconds\t%s\n' "${stages// /$'\t'}" >"$OUT/time.tsv"
for ranks in 1 2; do
    for model in gcn cdgcn evolvegcn-o evolvegcn-h tmgcn; do
        more=()
        [ $model != tmgcn ] || more=(--window 10)
        run $ranks "time-$model-$ranks" $graph --model $model "${more[@]}" --layers 2 --hidden 16 --task link --features degree \
            --edge-head dot --edge-life 10 --negatives 1 --eval-negatives 1 --eval-every 3 --epochs 3
        mean=$(jq -s 'map(select(.record == "epoch").seconds) | add / length' "$OUT/run-time-$model-$ranks.jsonl")
        [ -z "$summary" ] || get ". as \$s | [\"$model\", $ranks, $mean] + (\"$stages\" | split(\" \") | map(\$s.stage_seconds[.] // 0)) | @tsv" >>"$OUT/time.tsv"
    done
done
draw "$OUT/time.png" "
set style data histogram
set style histogram rowstacked
set style fill solid 0.9 border -1
set boxwidth 0.7
set ylabel 'seconds an epoch, mean over epochs and ranks'
set title '$graph: where an epoch goes'
set key outside right
set xtics rotate by -25
plot for [c=4:12] '$OUT/time.tsv' using c:xtic(sprintf('%s, %s', stringcolumn(1), stringcolumn(2) eq '1' ? '1 rank' : stringcolumn(2).' ranks')) title columnheader(c) lt (c - 3)"
