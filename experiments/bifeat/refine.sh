# shellcheck shell=bash
# Does a second level pay? Test accuracy of rows of two levels, refined nowhere, for labelled nodes,
# for a share and for all, beside one level of about the bytes of both (sourced). Moved: bytes of a
# row that sampled batches read, on average, counted on two ranks. Differences are to float32, paired
# by seed.
options=(--model sage --task node --layers 2 --hidden 64 --lr 0.01 --weight-decay 0.0005 --dropout 0.5
    --input-dropout 0 --epochs "${EPOCHS:-100}" --metric accuracy)
sampled=(--model sage --task node --layers 2 --hidden 16 --batch 512 --fanout 10 --epochs 2 --eval-every 2 --seed 1
    --input-dropout 0)
printf 'graph\tcodec\trefined\tstored\tmoved\taccuracy\tdeviation\tdifference\terror\n' >"$OUT/refine.tsv"

# SET CODEC HOW…: what is tried on a graph
tried() {
    case $1 in
    pubmed)
        printf '%s\n' 'pq:32x256+pq:32x256 none seeds hot:0.3 all' 'pq:28x256+pq:28x256 none seeds' \
            'pq:32x256+lloyd:1 seeds all' 'pq:16x256 none'
        ;;
    *) printf '%s\n' 'pq:16x256+pq:16x256 none hot:0.1 hot:0.3 all' 'pq:16x256+lloyd:2 hot:0.1 all' 'pq:8x256 none' ;;
    esac
}

refined_scores() { # NAME FILE HOW
    for seed in $(seq 0 $((SEEDS - 1))); do
        run 1 "$1-$seed" "$2" "${options[@]}" --refine "$3" --seed "$seed"
        get .test
    done
}

refine_row() { # SET CODEC HOW STORED MOVED ACCURACIES EXACT
    paste <(echo "$6") <(echo "$7") | awk -v OFS='\t' -v a="$1" -v b="$2" -v c="$3" -v d="$4" -v e="$5" '
        { s += $1; q += $1 * $1; x = $1 - $2; t += x; u += x * x; n++ }
        function sd(s, q) { v = n > 1 ? (q - s * s / n) / (n - 1) : 0; return sqrt(v > 0 ? v : 0) }
        END { printf "%s\t%s\t%s\t%.1f\t%.1f\t%.2f\t%.2f\t%+.2f\t%.2f\n", a, b, c, d, e, 100 * s / n, 100 * sd(s, q),
            100 * t / n, 100 * sd(t, u) / sqrt(n) }' | tee -a "$OUT/refine.tsv" >&2
}

for set in ${REFINE_SETS:-pubmed photo-128 sbm-128}; do
    graph "$set" || continue
    exact=$(refined_scores "refine-$set" "$set" none)
    refine_row "$set" fp32 - 0 0 "$exact" "$exact"
    while read -r -u 3 codec hows; do
        compressed "$set" "$codec" || continue
        stored=$(jq '.stored_bytes / .nodes' <<<"$said")
        first=$(jq .row_bytes <<<"$said") second=$(jq '.refinement.row_bytes // 0' <<<"$said")
        file=$set+${codec//:/-}
        for how in $hows; do
            run 2 "refine-moved-$file-${how/:/-}" "$file" "${sampled[@]}" --refine "$how"
            moved=$(get "$first + $second * .store.refinement.rows / .store.rows")
            list=$(refined_scores "refine-$file-${how/:/-}" "$file" "$how")
            refine_row "$set" "$codec" "$how" "$stored" "$moved" "$list" "$exact"
        done
    done 3< <(tried "$set") # mpirun reads the input
done
