# shellcheck shell=bash
# Bytes over each link and hits against the size of the cache, sampled GraphSAGE on two ranks of the
# graph with the shape of ogbn-products (sourced). Sizes in percent of the bytes of all float32 rows.
graph products
[ -f "$OUT/products-8.h5" ] || "$FLIPBOOK" partition "$OUT/products.h5" -o "$OUT/products-8.h5" --parts 8 >"$OUT/products-8.log" 2>&1
compressed products-8 uniform:4 || true
compressed products-8 opq:16x256 || true
all=$("$FLIPBOOK" info "$OUT/products-8.h5" --json | jq '.nodes * .features.columns * 4')
printf 'rows\thot\tpercent\thits\tto_device\tremote\tcached\n' >"$OUT/cache.tsv"
for file in products-8 products-8+uniform-4 products-8+opq-16x256; do
    for hot in degree expected presample; do
        for percent in 0 2 5 10 20 50 100; do
            run 2 "cache-$file-$hot-$percent" "$file" --model sage --task node --layers 2 --hidden 32 --batch 2048 --fanout 10,10 \
                --epochs 2 --eval-every 2 --hot $hot --cache-bytes $((all * percent / 100)) --seed 1
            [ -n "$summary" ] || continue
            jq -r --arg f "${file#products-8}" --arg h $hot --arg p $percent '[($f | if . == "" then "float32" else .[1:] end), $h, $p,
                (.store.hits / ([.store.rows, 1] | max)), .bytes.features_to_device, .bytes.remote_features, .store.cached_rows] | @tsv' \
                <<<"$summary" >>"$OUT/cache.tsv"
        done
    done
    say "cache: $file"
done
HEIGHT=560 draw "$OUT/cache.png" "
set multiplot layout 1,2
set xlabel 'cache of a rank, percent of the bytes of all float32 rows'
set key bottom right
set ylabel 'share of rows found in the cache'
set yrange [0:1]
plot for [h in 'degree expected presample'] for [k in 'float32 uniform-4 opq-16x256'] '<grep -P \"^'.k.'\\t'.h.'\" '.\"'$OUT/cache.tsv'\" using 3:4 with linespoints title k.', '.h
set ylabel 'MB of remote rows an epoch, both ranks'
set autoscale y
set yrange [0:*]
set key top right
plot for [h in 'degree expected presample'] for [k in 'float32 uniform-4 opq-16x256'] '<grep -P \"^'.k.'\\t'.h.'\" '.\"'$OUT/cache.tsv'\" using 3:(\$6/1e6) with linespoints title k.', '.h"
