#!/usr/bin/env bash
# Whole runs on a CUDA device beside the same on the CPU, on as many ranks: every model, distribution
# and transfer. Losses are equal to 1e-4 of themselves, but not all to the last bit: the device does
# compute. The final score is equal to 1e-3 and every byte that is counted is the same, with some in
# each counter that the case names. No device gives more memory than was foreseen. Blocks after the
# first are sent ahead, and nothing else is. WAITS: how often an epoch's host waits for the device.
# Passes that come again are replayed, as often as they should be, with the losses that calls give.
# Snapshots and the matrices that are made of them take what is foreseen, and half of that at least.
#   t960_device.sh FLIPBOOK [MPIRUN]      the device may be emulated
set -u
flipbook=$(realpath "$1")
mpirun=${2:-mpirun}
work=$(mktemp -d "${TMPDIR:-/tmp}/flipbook-t960-XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
export MALLOC_PERTURB_=${MALLOC_PERTURB_:-165} # what is read after it was freed is no address

# run DEVICE RANKS OPTIONS…
run() {
    local device=$1 ranks=$2
    shift 2
    "$mpirun" --oversubscribe --bind-to none -n "$ranks" "$flipbook" train "$@" --epochs 2 --threads 1 --device "$device" \
        --report "$device.jsonl" >"$device.out" 2>&1 || { sed 's/^/# /' "$device.out" | tail -n 3; return 1; }
}

# compare COUNTERS BLOCKS: cpu.jsonl beside cuda.jsonl; says what differs
# shellcheck disable=SC2016
compare() {
    awk -v moved="$1" -v blocks="$2" -v allowed="${WAITS-}" '
        function number(key,    at, rest) {
            at = index($0, "\"" key "\":")
            if (!at) return "none"
            rest = substr($0, at + length(key) + 3)
            sub(/^ */, "", rest)
            sub(/[,}].*/, "", rest)
            return rest
        }
        # what stands in its brackets
        function list(key,    at, rest) {
            at = index($0, "\"" key "\":")
            if (!at) return ""
            rest = substr($0, at)
            rest = substr(rest, index(rest, "[") + 1)
            return substr(rest, 1, index(rest, "]") - 1)
        }
        # not a number (null, NaN, absent): infinitely far
        function apart(a, b,    d) {
            if ((a b) ~ /[^-+.0-9e]/) return 1e9
            d = a - b; if (d < 0) d = -d; if (a < 0) a = -a
            return a > 0 ? d / a : d
        }
        FNR == 1 { file++ }
        /"record": *"epoch"/ { loss[file, ++n[file]] = number("loss") }
        /"record": *"settings"/ { kernels[file] = number("kernels") }
        /"record": *"summary"/ {
            test[file] = number("test")
            foreseen[file] = number("estimated_device_bytes")
            ahead = number("device_bytes_ahead")
            waits = number("device_waits")
            n_ranks = split(list("peak_device_bytes_of_ranks"), peak, ",")
            for (r = 1; r <= n_ranks; r++) if (peak[r] + 0 > most[file]) most[file] = peak[r] + 0
            at = match($0, /"bytes": *\{/)
            bytes[file] = substr($0, at) # of an epoch; after it, of the whole run
            split(bytes[file], part, "}")
            epoch[file] = part[1]
        }
        END {
            if (n[1] < 2 || n[1] != n[2]) bad = "epochs: " n[1] " and " n[2]
            for (i = 1; i <= n[1] && !bad; i++) {
                if (!(apart(loss[1, i], loss[2, i]) <= 1e-4)) bad = "loss " i ": " loss[1, i] " and " loss[2, i]
                same += loss[1, i] "" == loss[2, i] ""
            }
            if (!bad && same == n[1]) bad = "losses are the same to the last bit: " loss[1, 1]
            if (!bad && !(apart(test[1], test[2]) <= 1e-3)) bad = "test: " test[1] " and " test[2]
            if (!bad && !(most[2] > 0 && most[2] <= foreseen[2])) bad = most[2] " bytes of a device, foreseen were " foreseen[2]
            if (!bad && (!at || bytes[1] != bytes[2])) bad = bytes[1] " and " bytes[2]
            for (i = split(moved, counter, ","); i > 0 && !bad; i--)
                if (epoch[2] !~ "\"" counter[i] "\": *[1-9]") bad = "no bytes of " counter[i] ": " epoch[2]
            if (!bad && (kernels[1] == kernels[2] || kernels[2] != "\"cuda\"")) bad = "kernels " kernels[1] " and " kernels[2]
            if (!bad && (ahead > 0) != (blocks != "")) bad = ahead " bytes sent ahead in an epoch"
            if (!bad && allowed != "" && waits != allowed) bad = "the host waited " waits " times in an epoch"
            if (bad) print "# " bad
            exit bad != ""
        }' cpu.jsonl cuda.jsonl
}

tests=0 failed=0
# same COUNTERS RANKS OPTIONS…; $where: words that the run on the device has to say
where=''
same() {
    local counters=$1 blocks=
    shift
    case " $* " in *' --batch '*) ;; *' --blocks '[2-9]* | *' --history '*) blocks=several ;; esac
    tests=$((tests + 1))
    rm -f cpu.jsonl cuda.jsonl
    if run cpu "$@" && run cuda "$@" && compare "$counters" "$blocks" && { grep -q "$where" cuda.out || { echo "# '$where' is not said"; false; }; }; then
        echo "ok $tests - $*"
    else
        echo "not ok $tests - $*"
        failed=$((failed + 1))
    fi
}

# what does not depend on time of $1.jsonl's epochs and summary; and how many passes were replayed
numbers() {
    sed -n -e 's/^{"record":"epoch",.*\("loss":[^,]*,"valid":[^,]*\),.*/\1/p' \
        -e 's/^{"record":"summary",\("loss":.*\),"best_epoch".*/\1/p' "$1.jsonl"
    grep -o '"\(passes\|bytes\)":{[^}]*}\|"device_waits":[^,}]*' "$1.jsonl"
}
replays() {
    sed -n 's/.*"device_replays":\([0-9]*\).*/\1/p' "$1.jsonl"
}

# repeated PASSES OPTIONS…: so many passes of five are replayed, or calls give the same as well; in
# one order of threads, as cases above have replays in both
repeated() {
    local passes=$1 graphs bad=
    shift
    tests=$((tests + 1))
    for graphs in on off; do
        rm -f "$graphs.jsonl"
        FLIP_CUDA_GRAPHS=$graphs FLIP_EMULATION=orders=0 "$flipbook" train "$@" --epochs 5 --threads 1 --device cuda \
            --report "$graphs.jsonl" >"$graphs.out" 2>&1 || { bad='no run'; sed 's/^/# /' "$graphs.out" | tail -n 3; }
        numbers "$graphs" >"$graphs.numbers"
    done
    [ "$(grep -c '^"loss"' on.numbers)" -eq 6 ] || bad='no losses'
    [ "$(grep '^"loss"' on.numbers | uniq | wc -l)" -eq 6 ] || bad='nothing is learned'
    cmp -s on.numbers off.numbers || bad="with graphs: $(diff on.numbers off.numbers | head -n 4 | tr '\n' ' ')"
    [ "$(replays on) $(replays off)" = "$passes 0" ] || bad="replayed: $(replays on) and $(replays off)"
    if [ -z "$bad" ]; then
        echo "ok $tests - $passes passes replayed: $*"
    else
        printf '# %s\nnot ok %d - %s\n' "$bad" "$tests" "$*"
        failed=$((failed + 1))
    fi
}

# takes TRANSFER BLOCKS MODEL…: MiB that every run has are 64 of the tape, and of the table 64 where 128 are foreseen
takes() {
    local bytes
    tests=$((tests + 1))
    rm -f takes.jsonl
    FLIP_EMULATION=orders=0 "$flipbook" train moves.h5 --model "${@:3}" --hidden 1 --edge-life 5 --epochs 1 --threads 1 --device cuda \
        --transfer "$1" --blocks "$2" --report takes.jsonl >takes.out 2>&1 || sed 's/^/# /' takes.out | tail -n 3
    bytes=$(sed -n 's/.*"peak_device_bytes_of_ranks": *\[\([0-9]*\)\], *"estimated_device_bytes": *\([0-9]*\).*/\1 \2/p' takes.jsonl)
    if awk '{ taken = $1 - 128 * 2^20; foreseen = $2 - 192 * 2^20; print "# " taken " bytes, foreseen " foreseen
              exit !(taken > 0 && taken <= foreseen && foreseen <= 2 * taken) }' <<<"$bytes"; then
        echo "ok $tests - bytes of snapshots, $1, $2 blocks, ${*:3}"
    else
        echo "not ok $tests - bytes of snapshots, $1, $2 blocks, ${*:3}"
        failed=$((failed + 1))
    fi
}

"$flipbook" generate sbm -o static.h5 --nodes 600 --features 12 >/dev/null &&
    "$flipbook" generate sbm -o nodes.h5 --nodes 150 --steps 6 --drift 0.02 --labels-change --features 8 >/dev/null &&
    "$flipbook" generate sbm -o few.h5 --nodes 80 --features 8 >/dev/null &&
    "$flipbook" generate sbm -o steps.h5 --nodes 40 --steps 4 --drift 0.02 --labels-change --features 8 >/dev/null &&
    "$flipbook" compress static.h5 -o mixed.h5 --codec klt:2 >/dev/null &&
    "$flipbook" compress static.h5 -o products.h5 --codec pq:4x256 >/dev/null &&
    "$flipbook" compress static.h5 -o levels.h5 --codec pq:4x16+lloyd:4 >/dev/null &&
    "$flipbook" generate sbm -o moves.h5 --nodes 300 --steps 7 --features 1 --degree-in 1 --degree-out 11 >/dev/null &&
    "$flipbook" generate payments -o links.h5 --nodes 200 --steps 8 >/dev/null || exit 1

h='--hidden 8'
# shellcheck disable=SC2086
{
    same '' 1 static.h5 --model gcn $h --precision bf16
    same allreduce,halo 3 static.h5 --model gcn $h
    same allreduce,halo 4 static.h5 --model sage $h --norm layer --residual
    same allreduce,halo 2 static.h5 --model sage $h --aggregator pool --norm batch
    same allreduce,halo 2 static.h5 --model gat $h --heads 2
    same allreduce,halo 3 static.h5 --model gin $h --optimizer sgd --clip 1
    same allreduce,remote_features 2 static.h5 --model sage $h --batch 100 --fanout 4,4
    same allreduce,remote_features 2 static.h5 --model gcn $h --batch 100 --fanout 4,4
    same '' 1 static.h5 --model gcn $h --features learned
    same allreduce,halo 2 mixed.h5 --model sage $h
    where='drawn on the CPU and sent to the GPU'
    same '' 1 products.h5 --model sage $h --batch 200 --fanout 4,4 --prefetch 1
    where='drawn on the GPU'
    same '' 1 products.h5 --model sage $h --batch 200 --fanout 4,4
    same '' 1 mixed.h5 --model gat $h --heads 2 --batch 200 --fanout 4,60 --dropout 0.3
    same '' 1 static.h5 --model gcn $h --batch 100 --fanout 4,4 --dropout 0.3
    same '' 1 static.h5 --model sage $h --aggregator pool --batch 100 --fanout 3,5 --residual
    same '' 1 static.h5 --task link --model sage $h --batch 300 --fanout all
    same '' 1 static.h5 --model gcn $h --batch 100 --fanout 4,3 --sampling labor
    same '' 1 links.h5 --task link --model sage $h --features degree --edge-life 3 --batch 200 --fanout 4,60 --dropout 0.3
    same '' 1 links.h5 --task edge --model gat $h --heads 2 --batch 200 --fanout 3,2 --sampling recent --blocks 3
    same '' 1 nodes.h5 --task node --model gin $h --features given+degree --batch 100 --fanout all --edge-life 2 --blocks 2
    same '' 1 links.h5 --task edge --model sage $h --aggregator pool --batch 200 --fanout 3,2 --sampling weighted
    same '' 1 links.h5 --task link --model gat $h --batch 200 --fanout 3,2 --sampling weighted --replace on --edge-life 4
    where=''
    same '' 1 levels.h5 --task node --model gcn $h --refine all
    same allreduce,halo 3 levels.h5 --task node --model sage $h --refine hot:0.3
    same allreduce,halo 2 static.h5 --model sage $h --layers 3 --activations 4bit
    same allreduce,halo,graph_to_device 2 nodes.h5 --task node --model cdgcn $h --distribute nodes --transfer full --blocks 1
    # 2 a block for its loss, 1, and 2 a matrix that the device makes: five, there and back
    WAITS=17 same graph_to_device 1 nodes.h5 --task node --model cdgcn $h --transfer delta --blocks 3
    WAITS=17 same graph_to_device 1 nodes.h5 --task node --model tmgcn --window 3 $h --transfer delta --blocks 3 --precompute off
    same allreduce,redistribute,graph_to_device 3 nodes.h5 --task node --model cdgcn $h --distribute time --transfer delta --blocks 2 --activations recompute
    same allreduce,state 4 nodes.h5 --task node --model cdgcn $h --distribute wavefront --transfer resident --blocks 3
    same allreduce,halo,redistribute,graph_to_device 4 nodes.h5 --task node --model cdgcn $h --distribute grid --transfer delta --blocks 2 --activations 8bit
    same allreduce,state,graph_to_device 2 nodes.h5 --task node --model sage --temporal gru $h --distribute wavefront --transfer delta --blocks 6
    same allreduce,window,graph_to_device 3 nodes.h5 --task node --model tmgcn --window 3 $h --distribute window --transfer delta --blocks 2 --precompute off
    same allreduce,redistribute,graph_to_device 2 nodes.h5 --task node --model tmgcn --window 3 $h --distribute time --transfer full --precompute off
    same allreduce 2 nodes.h5 --task node --model evolvegcn-o $h --distribute time --transfer resident --blocks 2
    same allreduce,halo,graph_to_device 3 nodes.h5 --task node --model evolvegcn-o --cell gru $h --distribute nodes --transfer delta
    same allreduce,state,graph_to_device 2 nodes.h5 --task node --model evolvegcn-h $h --distribute time --transfer full --blocks 3
    same allreduce,halo,graph_to_device 2 links.h5 --task link --model cdgcn $h --edge-life 3 --edge-head mlp --distribute nodes --transfer delta
    same allreduce,redistribute,graph_to_device 3 links.h5 --task link --model cdgcn $h --edge-life 3 --edge-head dot --distribute time --transfer full --blocks 2
    same allreduce,window 2 links.h5 --task edge --model tmgcn --window 3 $h --edge-life 3 --distribute window --transfer resident --precompute off
    same '' 1 links.h5 --task link --model evolvegcn-o $h --history 2 --edge-life 3
    repeated 4 few.h5 --model gcn $h --dropout 0.5
    repeated 4 few.h5 --model sage $h --aggregator pool --norm batch --dropout 0.3 --class-weights auto --optimizer sgd --eval-every 2
    repeated 4 few.h5 --model gat $h --heads 2 --dropout 0.4
    repeated 4 steps.h5 --task node --model cdgcn $h --dropout 0.2 --blocks 1
    repeated 0 few.h5 --model gcn $h --layers 3 --activations 4bit       # rounded by another key each time
    repeated 0 steps.h5 --task node --model evolvegcn-h $h --blocks 1   # the host chooses its rows
    takes full 1 gcn
    takes delta 1 gcn
    takes full 4 gcn
    takes delta 4 gcn
    takes full 1 tmgcn --window 3 --precompute off
    takes delta 3 tmgcn --window 3 --precompute off
}
echo "1..$tests"
[ $failed -eq 0 ]
