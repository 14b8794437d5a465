# shellcheck shell=bash
# Test accuracy at the best validation epoch against stored bytes (sourced). Differences are paired by
# seed; the error is that of their mean.
ways=${ACCURACY:-fp32 bifeat:2 bifeat:1 bifeat-vq:16x256 lloyd:4 16x 32x klt:1.9375 klt:0.9375}
options=(--model sage --task node --layers 2 --hidden 64 --lr 0.01 --weight-decay 0.0005 --dropout 0.5
    --input-dropout 0 --epochs "${EPOCHS:-100}" --metric accuracy)
printf 'graph\tasked\tcodec\tratio\taccuracy\tdeviation\tdifference\terror\n' >"$OUT/accuracy.tsv"

# scores NAME FILE: test accuracies of all seeds, a line each.
scores() {
    for seed in $(seq 0 $((SEEDS - 1))); do
        run 1 "$1-$seed" "$2" "${options[@]}" --seed "$seed"
        get .test
    done
}

for set in $SETS; do
    for kind in '' -alone; do
        if [ -z "$kind" ]; then graph "$set" || continue; else alone "$set" || continue; fi
        exact=''
        for way in $ways; do
            file=$set$kind said='{"codec":"fp32","ratio":1}'
            if [ "$way" != fp32 ]; then
                compressed "$set$kind" "$way" || continue
                file=$set$kind+${way//:/-}
            fi
            list=$(scores "accuracy-$file" "$file")
            [ "$way" != fp32 ] || exact=$list
            paste <(echo "$list") <(echo "$exact") | awk -v g="$set$kind" -v w="$way" -v c="$(jq -r .codec <<<"$said")" \
                -v r="$(jq -r .ratio <<<"$said")" '{ a += $1; aa += $1 * $1; d = $1 - $2; s += d; q += d * d; n++ }
                function sd(s, q) { v = n > 1 ? (q - s * s / n) / (n - 1) : 0; return sqrt(v > 0 ? v : 0) }
                END { printf "%s\t%s\t%s\t%.2f\t%.2f\t%.2f\t%+.2f\t%.2f\n", g, w, c, r, 100 * a / n, 100 * sd(a, aa),
                    100 * s / n, 100 * sd(s, q) / sqrt(n) }' | tee -a "$OUT/accuracy.tsv" >&2
        done
    done
done
