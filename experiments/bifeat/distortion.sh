# shellcheck shell=bash
# Error against stored bytes, every codec (sourced).
codecs=${CODECS:-fp16 bf16 bifeat:8 bifeat:4 bifeat:2 bifeat:1 bifeat-vq:16x256 uniform:8 uniform:4 uniform:2 dither:2 dither:1
    lloyd:4 lloyd:2 lloyd:1 lloyd:4:shared lloyd:2:shared pq:16x256 pq:8x256 opq:16x256 opq:8x256 klt:2 klt:1 klt:0.5 near:2 near:1 near:0.5 sparse 16x 32x}
printf 'graph\tasked\tcodec\tratio\tbits\terror\tstored\tseconds\n' >"$OUT/distortion.tsv"
for set in $SETS; do
    graph "$set" || {
        say "$set: not here, left out"
        continue
    }
    for codec in $codecs; do
        compressed "$set" "$codec" || continue # pq of more entries than rows, sparse of dense rows: refused
        jq -r --arg g "$set" --arg a "$codec" \
            '[$g, $a, .codec, .ratio, (8 * .row_bytes / .columns), .error, .stored_bytes, (.learn_seconds + .encode_seconds)] | @tsv' <<<"$said" >>"$OUT/distortion.tsv"
    done
    say "$set: $(grep -c "^$set	" "$OUT/distortion.tsv") codecs"
done
for set in $SETS; do
    grep -q "^$set	" "$OUT/distortion.tsv" || continue
    HEIGHT=640 draw "$OUT/distortion-$set.png" "
set title 'Squared error against stored bytes, $set'
set logscale xy
set xlabel 'native bytes / stored bytes (codes, tables, padding)'
set ylabel 'squared error / variance'
set key outside right
plot for [k in 'bifeat uniform dither lloyd pq opq klt near'] '<grep -P \"^$set\\t'.k.'[-:]\" '.\"'$OUT/distortion.tsv'\".' | sort -k4g' using 4:6 with linespoints title k"
done
