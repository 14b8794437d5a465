#!/usr/bin/env bash
# Graphs that grow and drift, cut once by METIS and then carried along by `partition --from`, beside
# METIS anew at every step (its parts numbered to overlap those of the step before). A table for each:
# halo rows of both, the ratio, rows that moved in both, seconds of cutting.
#
#   experiments/repartition.sh [STEPS]        (default 6; under three minutes on two cores)
#
#   sbm        20,000 nodes in 40 communities, all events so far; 1 % change theirs each step
#   sbm-window the last 5 steps only, 10,000 nodes at first, 300 born and 300 gone each step, 2 % drift
#   payments   20,000 accounts, all payments so far, 10 steps more each time
#
# FLIPBOOK  the program (default build/flipbook);  OUT  where files go (default build/repartition);
# PARTS     default 8
set -euo pipefail
cd "$(dirname "$0")/.."
steps=${1:-6}
FLIPBOOK=${FLIPBOOK:-build/flipbook}
OUT=${OUT:-build/repartition}
PARTS=${PARTS:-8}
[ -x "$FLIPBOOK" ] || {
    echo "repartition.sh: no program at $FLIPBOOK; build it with meson setup build && ninja -C build" >&2
    exit 1
}
mkdir -p "$OUT"
log=$OUT/log
: >"$log"

# drifting_town FIRST LAST: events of steps FIRST … LAST, "source,destination,step". Draws come from
# Lehmer's generator seeded by (step, node), so a step is the same in every window.
drifting_town() {
    awk -v first="$1" -v last="$2" 'BEGIN {
        nodes = 10000; born = 300; blocks = 40; drift = .02
        for (t = 0; t <= last; t++) {
            alive_from = t * born; alive_to = nodes + t * born
            for (k = 0; k < blocks; k++) size[k] = 0
            for (v = alive_from; v < alive_to; v++) {
                seed(t, v)
                if (!(v in block) || draw() < drift) block[v] = int(draw() * blocks)
                member[block[v], size[block[v]]++] = v
            }
            if (t < first) continue
            for (v = alive_from; v < alive_to; v++) {
                seed(t + 100000, v)
                k = block[v]
                for (j = 0; j < 5; j++) {
                    u = j < 4 ? member[k, int(draw() * size[k])] : alive_from + int(draw() * nodes)
                    if (u != v) print u "," v "," t
                }
            }
        }
    }
    function seed(t, v) {
        state = (t * 7919 + v * 104729 + 1) % 2147483647
        for (i = 0; i < 3; i++) draw()
    }
    function draw() {
        state = state * 48271 % 2147483647
        return state / 2147483647
    }'
}

# make NAME STEP FILE: the graph as it stands then
make() {
    case $1 in
    sbm) "$FLIPBOOK" generate sbm -o "$3" --nodes 20000 --steps $((8 + $2)) --blocks 40 \
        --degree-in 4 --degree-out .5 --drift .01 --features 0 --seed 3 ;;
    sbm-window)
        drifting_town "$2" $((4 + $2)) >"$OUT/town.csv"
        "$FLIPBOOK" import "$OUT/town.csv" -o "$3" --columns src,dst,time --step 1 --start "$2" ;;
    payments) "$FLIPBOOK" generate payments -o "$3" --nodes 20000 --steps $((20 + 10 * $2)) \
        --features 0 --seed 3 ;;
    esac >>"$log" 2>&1
}

# cut GRAPH FILE OPTIONS…: partitions; leaves the figures in the variable `said`, the seconds in `took`
cut() {
    local graph=$1 file=$2
    shift 2
    said=$("$FLIPBOOK" partition "$graph" -o "$file" --json "$@" 2>"$OUT/err") || {
        cat "$OUT/err" >&2
        exit 1
    }
    took=$(sed -n 's/^cutting … \([0-9.]*\) s$/\1/p' "$OUT/err")
}

# number JSON KEY [WITHIN]: a number of the object WITHIN (default: anywhere, the first)
number() {
    local text=$1
    [ $# -lt 3 ] || text=${text#*"\"$3\": {"}
    printf '%s' "$text" | grep -o "\"$2\": [-0-9.e+]*" | head -n 1 | sed 's/.*: //'
}

for name in sbm sbm-window payments; do
    graph=$OUT/$name.h5
    make "$name" 0 "$graph"
    cut "$graph" "$OUT/$name-local-0.h5" --parts "$PARTS"
    cp "$OUT/$name-local-0.h5" "$OUT/$name-full-0.h5"
    printf '\n%s, %s parts\n' "$name" "$PARTS"
    printf '%4s %8s %7s %7s %10s %10s %6s %9s %9s %9s %8s %8s\n' step nodes new gone 'halo from' \
        'halo METIS' ratio 'moved' 'by METIS' balance seconds METIS
    for ((t = 1; t <= steps; t++)); do
        make "$name" "$t" "$graph"
        cut "$graph" "$OUT/$name-local-$t.h5" --from "$OUT/$name-local-$((t - 1)).h5"
        local_said=$said local_took=$took
        cut "$graph" "$OUT/$name-full-$t.h5" --from "$OUT/$name-full-$((t - 1)).h5" --anew-above 0
        awk -v t="$t" -v nodes="$(number "$local_said" nodes)" -v new="$(number "$local_said" new from)" \
            -v gone="$(number "$local_said" vanished from)" -v known="$(number "$local_said" known from)" \
            -v halo="$(number "$local_said" halo_sum after)" -v full="$(number "$said" halo_sum after)" \
            -v moved="$(number "$local_said" moved from)" -v by_metis="$(number "$said" moved from)" \
            -v nb="$(number "$local_said" node_balance after)" -v eb="$(number "$local_said" edge_balance after)" \
            -v took="$local_took" -v full_took="$took" -v anew="$(grep -c '"anew": true' <<<"$local_said" || true)" \
            'BEGIN {
                worst = (nb > eb) ? nb : eb
                note = (anew > 0) ? "  METIS ran" : ""
                printf("%4d %8d %7d %7d %10d %10d %6.3f %8.2f%% %8.2f%% %9.3f %8.1f %8.1f%s\n", t, nodes,
                    new, gone, halo, full, halo / full, 100 * moved / known, 100 * by_metis / known,
                    worst, took, full_took, note)
            }'
        rm -f "$OUT/$name-local-$((t - 1)).h5" "$OUT/$name-full-$((t - 1)).h5"
    done
    rm -f "$OUT/$name"*.h5 "$OUT/town.csv"
done
