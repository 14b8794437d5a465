# shellcheck shell=bash
# Graphs with features (sourced): graph NAME makes $OUT/NAME.h5 once.

graph() {
    local name=$1 file=$OUT/$1.h5
    [ ! -f "$file" ] || return 0
    case $name in
    photo-128 | computers-128) # the columns are bags of words: 128 principal components instead
        local base=amazon-${name%-128}
        [ -d "$DATA/$base" ] || return 1
        graph "$base"
        "$build/project" "$OUT/$base.h5" "$OUT/$name.npy" 128 1
        "$FLIPBOOK" import "$DATA/$base/edges.tsv.zst" -o "$file" --undirected --features "$OUT/$name.npy" \
            --labels "$DATA/$base/labels.npy" >"$file.log" 2>&1
        ;;
    sbm-128) # communities with correlated columns
        "$FLIPBOOK" generate sbm -o "$file" --nodes 20000 --blocks 16 --degree-in 6 --degree-out 6 --features 128 \
            --spectrum 1.4 --signal 0.12 --train 0.1 --valid 0.1 --seed 4 >"$file.log" 2>&1
        ;;
    products) "$FLIPBOOK" generate products -o "$file" --scale "$SCALE" --seed 4 >"$file.log" 2>&1 ;;
    *)
        [ -d "$DATA/$name" ] || return 1
        "$FLIPBOOK" import "$DATA/$name" -o "$file" >"$file.log" 2>&1
        ;;
    esac
}

# alone NAME: $OUT/NAME-alone.h5, the same nodes with one edge between the first two: what is learned
# from a node's own row.
alone() {
    local file=$OUT/$1-alone.h5 base=${1%-128}
    [ ! -f "$file" ] || return 0
    case $1 in
    photo-128 | computers-128) base=amazon-$base ;;
    sbm-128 | products) return 1 ;; # generated: no rows of their own to import again
    esac
    [ -f "$DATA/$base/labels.npy" ] && [ -f "$OUT/$1.npy" ] || return 1
    printf '0\t1\n' >"$OUT/one-edge.tsv"
    "$FLIPBOOK" import "$OUT/one-edge.tsv" -o "$file" --undirected --features "$OUT/$1.npy" \
        --labels "$DATA/$base/labels.npy" >"$file.log" 2>&1
}

# compressed NAME CODEC: $OUT/NAME+CODEC.h5 once; what compress said of it is in $said (JSON).
compressed() {
    local file=$OUT/$1+${2//:/-}.h5 options=(--codec "$2")
    [ "${2%x}" = "$2" ] || options=(--budget "$2")
    if [ ! -f "$file" ] || [ ! -s "$file.json" ]; then
        "$FLIPBOOK" compress "$OUT/$1.h5" -o "$file" "${options[@]}" --json >"$file.json" 2>"$file.log" || {
            rm -f "$file" "$file.json"
            said=''
            return 1
        }
    fi
    said=$(cat "$file.json")
}
