#!/usr/bin/env bash
# Rows between devices by NCCL, by an MPI that is given their memory, and staged: the same losses
# and the same bytes counted; and an NCCL that fails on one rank, while the others wait for it, ends
# the run with that rank's words.
#   t965_nccl.sh FLIPBOOK [MPIRUN]        the device is emulated
set -u
flipbook=$(realpath "$1")
mpirun=${2:-mpirun}
work=$(mktemp -d "${TMPDIR:-/tmp}/flipbook-t965-XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1

tests=0 failed=0
tell() { # RESULT WHAT
    tests=$((tests + 1))
    [ "$1" -eq 0 ] || failed=$((failed + 1))
    [ "$1" -eq 0 ] && echo "ok $tests - $2" || echo "not ok $tests - $2"
}

# train RANKS NAME OPTIONS…
train() {
    local ranks=$1 name=$2
    shift 2
    timeout 60 "$mpirun" --oversubscribe --bind-to none -n "$ranks" "$flipbook" train --device cuda "$@" --epochs 2 --threads 1 \
        --report "$name.jsonl" >"$name.out" 2>&1
}

# Losses to six digits, how rows went, and every byte of the run.
facts() {
    grep -q "^exchange $1: " "$1.out" && grep -q "\"exchange\":\"$1\"" "$1.jsonl" || echo "not by $1"
    sed -n 's/.*"record":"epoch".*"loss":\([0-9.]\{8\}\).*/loss \1/p; s/.*"bytes":{/bytes {/p' "$1.jsonl"
}

# same COUNTER RANKS OPTIONS…
same() {
    local counter=$1
    shift
    train "$1" nccl "${@:2}" && train "$1" mpi "${@:2}" --device-exchange mpi &&
        facts nccl >nccl.facts && facts mpi >mpi.facts && cmp nccl.facts mpi.facts >&2 &&
        [ "$(grep -c ^loss nccl.facts)" = 2 ] && grep -q "^bytes.*\"$counter\":[1-9]" nccl.facts
    tell $? "$*"
}

# alike RANKS OPTIONS…: an MPI that is given the devices' memory, beside NCCL's run just before: every
# digit of the losses
alike() {
    FLIP_EMULATION=aware train "$1" mpi-cuda "${@:2}" --device-exchange mpi-cuda &&
        diff <(sed -n 's/.*"record":"epoch".*\("loss":[^,]*\).*/\1/p' nccl.jsonl) <(sed -n 's/.*"record":"epoch".*\("loss":[^,]*\).*/\1/p' mpi-cuda.jsonl) >&2 &&
        facts mpi-cuda >mpi-cuda.facts && cmp nccl.facts mpi-cuda.facts >&2
    tell $? "by MPI: $*"
}

# sums BLOCKS: bytes of a run, which NCCL was given to send and the run counted as states
sums() {
    FLIP_EMULATION=tell train 2 told nodes.h5 --task node --model cdgcn --hidden 8 --distribute wavefront --blocks "$1" --device-exchange nccl &&
        sed -n 's/^emulated NCCL sent \([0-9]*\) bytes$/\1/p' told.out | awk '{ n += $1 } END { print n }' &&
        sed -n 's/.*"bytes_run":{[^}]*"state":\([0-9]*\).*/\1/p' told.jsonl | tail -n 1
}

# What three blocks have NCCL send more than one are the states, those from block to block among them
# (without these it would be less than four times as much).
states() {
    local one more
    one=($(sums 1)) && more=($(sums 3)) && echo "# NCCL ${one[0]} and ${more[0]}, states ${one[1]} and ${more[1]}" >&2 &&
        [ "${more[1]}" -gt $((4 * one[1])) ] && [ $((more[0] - one[0])) -eq $((more[1] - one[1])) ]
    tell $? 'states between blocks go by NCCL, every byte of them'
}

# NCCL of rank 1 fails at its Nth exchange: exit code 1 within a minute, one line that says so.
fails() {
    FLIP_EMULATION=nccl=1:$1 train 3 broken static.h5 --model gcn --hidden 8
    local code=$?
    [ $code -eq 1 ] && grep -q '^flipbook: \[rank 1\] NCCL failed while ranks exchanged rows: remote process' broken.out &&
        [ "$(grep -c '^flipbook: ' broken.out)" = 1 ]
    tell $? "NCCL fails at exchange $1 (exit code $code)"
}

# goes HOW WORDS OPTIONS…: what `auto` comes to, with a note of these words
goes() {
    train 2 auto static.h5 --model gcn "${@:3}" && grep -q "^note .*$2" auto.out && grep -q "^exchange $1:" auto.out
    tell $? "goes by $1: ${*:3}"
}

# refused WORDS OPTIONS…: exit code 2
refused() {
    train 2 refused static.h5 --model gcn "${@:2}"
    [ $? -eq 2 ] && grep -q "^flipbook: --device-exchange nccl .*$1" refused.out
    tell $? "refused: ${*:2}"
}

"$flipbook" generate sbm -o static.h5 --nodes 400 --features 12 >/dev/null &&
    "$flipbook" generate sbm -o nodes.h5 --nodes 100 --steps 6 --drift 0.02 --labels-change --features 8 >/dev/null || exit 1
grid=(4 nodes.h5 --task node --model cdgcn --hidden 8 --distribute grid --blocks 2)
wave=(3 nodes.h5 --task node --model cdgcn --hidden 8 --distribute wavefront --blocks 2)
nodes=(3 static.h5 --model gcn --hidden 8 --wire-codec int8)
time=(2 nodes.h5 --task node --model cdgcn --hidden 8 --distribute time --wire-codec bf16)
same redistribute "${grid[@]}"
alike "${grid[@]}"
same state "${wave[@]}"
alike "${wave[@]}"
states
same window 3 nodes.h5 --task node --model tmgcn --window 3 --hidden 8 --distribute window --blocks 2 --precompute off
same halo "${nodes[@]}"
alike "${nodes[@]}"
same redistribute "${time[@]}"
alike "${time[@]}"
fails 3
refused 'ranks may share one' --device cuda-shared --device-exchange nccl
refused "is the CPU's work" --wire-codec adaptive --device-exchange nccl
goes mpi 'through MPI: --wire-codec' --wire-codec adaptive
FLIP_EMULATION=aware goes mpi-cuda 'through a CUDA-aware MPI: with --device cuda-shared' --device cuda-shared
train 2 unaware static.h5 --model gcn --device-exchange mpi-cuda
[ $? -eq 1 ] && grep -q '^flipbook: .*this MPI does not say that it takes a GPU.s memory (Open MPI' unaware.out
tell $? 'an MPI that does not say that it is CUDA-aware is given no memory of a device'
timeout 60 "$flipbook" bench exchange --device cuda >bench.out 2>&1
[ $? -eq 2 ] && grep -q "^flipbook: bench exchange measures rows of the hosts' memory: leave --device out" bench.out
tell $? 'bench exchange has no device'
echo "1..$tests"
[ $failed -eq 0 ]
