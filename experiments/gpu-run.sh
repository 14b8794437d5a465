#!/usr/bin/env bash
# The check of Flipbook on a GPU, in the folder that gpu-check.sh makes (as run.sh): sections with
# a time limit each, none stopping the next; in under 8 minutes. Exit code 1 where a section failed
# or was cut off, which the table and the report's last line say; what is not possible there (no
# PyTorch, no compute-sanitizer) is no failure.
#
#   ./run.sh                              # all
#   SECTIONS="kernels train" ./run.sh
#
# OUT       where the results go (default results, beside this file): report.jsonl (every row as a
#           JSON object), table.txt, log.txt
# SECTIONS  facts data kernels bench train transfer peers sanitizer
# SIZE      full, or small: graphs of a thousand nodes and four times the limits, for an emulated
#           device
# SECONDS_IN_ALL  no section begins or goes on after it (default 465, small: 1860)
# DEVICE    default cuda
# ACCOUNTS  of the payment networks whose snapshots are sent (default "1000000 8000000")
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=${OUT:-$here/results}
work=${WORK:-$here/work}
sections=${SECTIONS:-facts data kernels bench train transfer peers sanitizer}
SIZE=${SIZE:-full}
device=${DEVICE:-cuda}
patience=1
[ "$SIZE" = full ] || patience=4
mkdir -p "$out" "$work/data"
report=$out/report.jsonl log=$out/log.txt
export OUT=$out WORK=$work SIZE

# ---- the programs, unpacked once ----
parts=$work/parts
if [ ! -d "$parts" ]; then
    mkdir -p "$parts.new" && tar -C "$parts.new" -xzf "$here/parts.tar.gz" && mv "$parts.new" "$parts" || exit 1
fi
export OPAL_PREFIX=$parts/mpi OPAL_BINDIR=$parts/mpi/bin OPAL_LIBDIR=$parts/lib OPAL_PKGLIBDIR=$parts/mpi/lib
export OPAL_DATADIR=$parts/mpi/share OPAL_PKGDATADIR=$parts/mpi/share OPAL_SYSCONFDIR=$parts/mpi/etc
export OMPI_MCA_mca_base_component_path=$parts/mpi/lib PMIX_MCA_mca_base_component_path=$parts/mpi/pmix
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_btl=self,vader OMPI_MCA_mpi_yield_when_idle=1
export OMPI_MCA_mca_base_component_show_load_errors=0 PMIX_MCA_mca_base_component_show_load_errors=0
export OMPI_MCA_plm_rsh_agent=none OMPI_MCA_plm=isolated
export OMP_WAIT_POLICY=passive CMOCKA_MESSAGE_OUTPUT=TAP
libraries=$parts/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}:/usr/local/cuda/lib64:/usr/local/nvidia/lib64
# Ours alone see the folder's libraries: python3 and the sanitizer have their own.
ours() { LD_LIBRARY_PATH=$libraries "$@"; }
flipbook() { ours "$parts/bin/flipbook" "$@"; }
# ours_for SECONDS PROGRAM…
ours_for() {
    local limit=$1
    shift
    timeout --foreground -k 5 "$limit" env LD_LIBRARY_PATH="$libraries" "$@"
}

# ---- rows of the report ----
now() { date +%s.%N; }
since() { awk -v a="$1" -v b="$(now)" 'BEGIN { printf "%.2f", b - a }'; }
# One line, fit to stand between quotes.
# shellcheck disable=SC1003
quoted() { tr '\n\t"\\' "  '/" | tr -d '\000-\037' | cut -c 1-300; }
say() { printf '%s\n' "$*" | tee -a "$log" >&2; }
record() { printf '{"section": "%s", %s}\n' "$section" "$1" >>"$report"; }
# JSON lines of a program, marked with the section.
relay() { sed -n "s/^{/{\"section\": \"$section\",/p" >>"$report"; }
# shellcheck disable=SC2016
reader='
function get(key,    at, rest) {
    at = index($0, "\"" key "\":")
    if (!at) return "nan"
    rest = substr($0, at + length(key) + 3)
    sub(/^ */, "", rest)
    if (substr(rest, 1, 1) == "\"") { rest = substr(rest, 2); sub(/".*/, "", rest) } else sub(/[,}].*/, "", rest)
    return rest
}
'

# ---- facts ----
section_facts() {
    local commit='' name='none' driver=''
    [ ! -f "$here/commit.txt" ] || commit=$(cat "$here/commit.txt")
    if command -v nvidia-smi >/dev/null; then
        nvidia-smi >>"$log" 2>&1
        name=$(nvidia-smi --query-gpu=name,memory.total --format=csv,noheader | head -n 1)
        driver=$(nvidia-smi --query-gpu=driver_version --format=csv,noheader | head -n 1)
    fi
    flipbook info --build >>"$log" 2>&1 || say "flipbook info fails here"
    record "\"date\": \"$(date -u +%FT%TZ)\", \"commit\": \"$commit\", \"gpu\": \"$(quoted <<<"$name")\", \"driver\": \"$driver\", \"cores\": $(nproc), \"cuda\": \"$(flipbook info --build 2>/dev/null | awk '/^ *CUDA/ { sub(/^ *CUDA */, ""); print }')\""
}

# ---- kernel checkers, and operators with their values on the device ----
check() {
    local program=$1 start rc failure
    start=$(now)
    shift
    ours_for $((40 * patience)) env "$@" "$program" >"$work/tap.txt" 2>&1
    rc=$?
    { echo "== $(basename "$program")"; cat "$work/tap.txt"; } >>"$log"
    failure=$( (grep -A 3 '^not ok ' "$work/tap.txt" || { [ $rc = 0 ] || tail -n 3 "$work/tap.txt"; }) | head -n 4 | quoted)
    record "\"program\": \"$(basename "$program")\", \"passed\": $(grep -c '^ok ' "$work/tap.txt"), \"failed\": $(grep -c '^not ok ' "$work/tap.txt"), \"rc\": $rc, \"seconds\": $(since "$start"), \"tables\": \"$(awk '/^# tables:/ { sub(/^# tables: */, ""); print; exit }' "$work/tap.txt")\", \"first_failure\": \"$failure\""
}
section_kernels() {
    local program
    for program in "$parts"/bin/t*; do
        case $(basename "$program") in
        t5* | t222* | t340*) check "$program" FLIP_TEST_DEVICE="$device" OMP_NUM_THREADS=1 ;;
        *) check "$program" OMP_NUM_THREADS=1 ;;
        esac
    done
}

# ---- kernels, timed ----
section_bench() {
    local options=()
    [ "$SIZE" = full ] || options=(--rows 500 --seconds 0)
    flipbook bench kernels --device "$device" --json "${options[@]}" >"$work/bench.txt" 2>>"$log"
    local rc=$?
    relay <"$work/bench.txt"
    record "\"program\": \"bench kernels\", \"rc\": $rc, \"words\": \"$(tail -n 2 "$log" | quoted)\""
}

# ---- graphs ----
have_torch() { command -v python3 >/dev/null && python3 -c 'import torch, numpy' 2>/dev/null; }
# generate NAME OPTIONS…: by half the cores, eight at most; by one where mpirun fails
generate() {
    local name=$1 ranks=$(($(nproc) / 2))
    shift
    set -- generate "$@" -o "$work/data/$name.h5"
    [ $ranks -le 8 ] || ranks=8
    if [ $ranks -lt 2 ] || ! ours "$parts/mpi/bin/mpirun" --oversubscribe --bind-to none -n $ranks env OMP_NUM_THREADS=2 "$parts/bin/flipbook" "$@"; then
        flipbook "$@"
    fi >"$work/$name.log" 2>&1
}
section_data() {
    local start nodes=50000 steps=32 payments=1000000 scale=0.08 short=2700 data=$work/data/static made=no
    start=$(now)
    [ "$SIZE" = full ] || nodes=400 steps=6 payments=1000 scale=0.0004 short=300
    if [ "$SIZE" = full ] && have_torch; then # the graph of the peers too
        made=yes
        if [ -f "$here/gen_graph.py" ]; then python3 "$here/gen_graph.py" static "$data"; else python3 "$here/gpu-peers.py" make "$data"; fi >>"$log" 2>&1 &
    fi
    generate small sbm --nodes 400 --steps 6 --drift 0.01 --labels-change
    generate dynamic sbm --nodes $nodes --steps $steps --drift 0.01 --features 32 --labels-change
    generate short sbm --nodes $short --features 64
    generate payments payments --nodes $payments --steps 24 --payments 0.25
    wait
    if [ $made = yes ]; then
        flipbook import "$data/edges.tsv" -o "$work/data/static.h5" --columns src,dst --features "$data/features.npy" --labels "$data/labels.npy" --splits "$data/split.npy" >"$work/static.log" 2>&1
    else
        generate static products --scale $scale
    fi
    cat "$work"/{static,dynamic,small,short,payments}.log >>"$log"
    local name
    for name in static dynamic small short payments; do
        record "\"graph\": \"$name\", \"bytes\": $(stat -c %s "$work/data/$name.h5" 2>/dev/null || echo 0), \"words\": \"$(tail -n 1 "$work/$name.log" | quoted)\""
    done
    record "\"graph\": \"all\", \"seconds\": $(since "$start")"
}

# ---- training, on the device and on the CPU ----
# train_row ROW DEVICE RANKS LIMIT GRAPH OPTIONS…: one run, the GPU's memory in use watched; its
# report stays as work/ROW.DEVICE.jsonl
train_row() {
    local row=$1 where=$2 ranks=$3 limit=$4 graph=$work/data/$5 file start=() watcher rc began
    shift 5
    file=$work/$row.$where.jsonl
    rm -f "$file" "$work/memory.txt"
    [ "$ranks" -eq 1 ] || start=("$parts/mpi/bin/mpirun" --oversubscribe --bind-to none -n "$ranks")
    if command -v nvidia-smi >/dev/null && [ "$where" != cpu ]; then
        nvidia-smi --query-gpu=memory.used --format=csv,noheader,nounits -lms 100 >"$work/memory.txt" 2>/dev/null &
        watcher=$!
    fi
    began=$(now)
    ours_for "$limit" "${start[@]}" "$parts/bin/flipbook" train "$graph" --device "$where" --seed 0 --report "$file" "$@" >"$work/train.txt" 2>&1
    rc=$?
    [ -z "${watcher:-}" ] || kill "$watcher"
    { echo "== $row $where: $*"; cat "$work/train.txt"; } >>"$log"
    touch "$file" "$work/memory.txt"
    local gpu
    gpu=$(sort -n "$work/memory.txt" | tail -n 1)
    awk -v head="\"section\": \"$section\", \"row\": \"$row\", \"device\": \"$where\", \"ranks\": $ranks, \"rc\": $rc, \"wall_seconds\": $(since "$began"), \"gpu_memory_mb\": ${gpu:-null}" \
        -v words="$( [ $rc = 0 ] || tail -n 2 "$work/train.txt" | quoted)" "$reader"'
        /"record": *"epoch"/ { losses = losses (losses == "" ? "" : ", ") get("loss"); seconds = get("seconds"); n++; s[n] = seconds }
        /"record": *"summary"/ { rest = ", \"seconds_per_epoch\": " get("seconds_per_epoch") ", \"peak_rss_bytes\": " get("peak_rss_bytes") ", \"test\": " get("test") }
        END { printf "{%s%s, \"losses\": [%s], \"words\": \"%s\"}\n", head, rest, losses, words }' "$file" >>"$report"
    return $rc
}
# same_losses ROW [OTHER]: the device's epochs beside the CPU's, or OTHER's on the device, as far as
# both went
same_losses() {
    awk -v row="$1${2:+ and $2}" -v other="${2:-}" -v section="$section" "$reader"'
        FNR == 1 { file++ }
        /"record": *"epoch"/ { loss[file, ++n[file]] = get("loss") + 0 }
        /"record": *"summary"/ { seconds[file] = get("seconds_per_epoch") + 0 }
        END {
            m = n[1] < n[2] ? n[1] : n[2]
            bar = other == "" ? 1e-4 : 0
            for (i = 1; i <= m; i++) {
                d = loss[1, i] - loss[2, i]; if (d < 0) d = -d
                if (loss[2, i] != 0 && d / loss[2, i] > most) most = d / loss[2, i]
                if (!(d >= 0)) most = 1
            }
            if (m > 0) printf "{\"section\": \"%s\", \"compared\": \"%s\", \"epochs\": %d, \"largest_relative_difference\": %.3g, \"bar\": %g, \"holds\": %s, \"times_as_fast\": %.2f}\n",
                section, row, m, most, bar, (most <= bar ? "true" : "false"), (seconds[1] > 0 ? seconds[2] / seconds[1] : 0)
        }' "$work/$1.$device.jsonl" "$work/${2:-$1}.$([ -n "${2:-}" ] && echo "$device" || echo cpu).jsonl" >>"$report"
}
# both ROW GRAPH EPOCHS OPTIONS…: the same run on the device and on the CPU
both() {
    local row=$1 graph=$2 epochs=$3
    shift 3
    train_row "$row" "$device" 1 40 "$graph" --epochs "$epochs" --eval-every "$epochs" "$@"
    train_row "$row" cpu 1 40 "$graph" --epochs "$epochs" --eval-every "$epochs" "$@"
    same_losses "$row"
}
section_train() {
    local hidden=128 wide=256 narrow=32 epochs=15 few=6 many=200 node model name way
    [ "$SIZE" = full ] || { hidden=16 wide=24 narrow=8 epochs=3 few=2 many=4; }
    node=(--task node --layers 2 --lr 0.01 --weight-decay 0 --dropout 0.5 --input-dropout 0 --feature-norm none --metric accuracy)
    both "sage-h$wide" static.h5 $epochs --model sage "${node[@]}" --hidden $wide
    both "sage-h$wide-noprecompute" static.h5 $epochs --model sage "${node[@]}" --hidden $wide --precompute off
    train_row "sage-h$hidden" "$device" 1 40 static.h5 --epochs $epochs --eval-every $epochs --model sage "${node[@]}" --hidden $hidden
    train_row "sage-h$hidden-noprecompute" "$device" 1 40 static.h5 --epochs $epochs --eval-every $epochs --model sage "${node[@]}" --hidden $hidden --precompute off
    both "gcn-h$hidden" static.h5 $epochs --model gcn "${node[@]}" --hidden $hidden
    both cdgcn dynamic.h5 9 --model cdgcn --task node --hidden $narrow
    both evolvegcn-o dynamic.h5 9 --model evolvegcn-o --task node --hidden $narrow
    both tmgcn dynamic.h5 9 --model tmgcn --window 5 --task node --hidden $narrow
    for model in gcn gat; do # short kernels: a launch a pass, and one a kernel
        train_row "$model-short-graphs" "$device" 1 20 short.h5 --epochs $many --eval-every $many --model $model --task node --hidden 16
        FLIP_CUDA_GRAPHS=off train_row "$model-short-launches" "$device" 1 20 short.h5 --epochs $many --eval-every $many --model $model --task node --hidden 16
    done
    both "sage-h$hidden-sampled" static.h5 $few --model sage "${node[@]}" --hidden $hidden --batch 1024 --fanout 10,10
    if flipbook compress "$work/data/static.h5" -o "$work/data/packed.h5" --codec uniform:4 >>"$log" 2>&1; then
        both "sage-h$hidden-sampled-4bit" packed.h5 $few --model sage "${node[@]}" --hidden $hidden --batch 1024 --fanout 10,10
    fi
    both dynamic-sampled dynamic.h5 2 --model sage --task node --hidden $hidden --batch 8192 --fanout 10,10 --sampling recent --edge-life 4
    # shellcheck disable=SC2086
    for model in cdgcn 'tmgcn --window 5'; do
        name=${model%% *}-4blocks
        both "$name" dynamic.h5 9 --model $model --task node --hidden $narrow --blocks 4
        for way in full delta; do # the GPU makes the matrices, the same bits
            train_row "$name-$way" "$device" 1 40 dynamic.h5 --epochs 9 --eval-every 9 --model $model --task node --hidden $narrow --blocks 4 --transfer $way
            same_losses "$name-$way" "$name"
        done
    done
    train_row cdgcn-2ranks "$device-shared" 2 40 dynamic.h5 --epochs 3 --eval-every 3 --model cdgcn --task node --hidden $narrow
}

# ---- transfers of snapshots ----
section_transfer() {
    local way life=10 rc accounts
    for accounts in ${ACCOUNTS:-1000000 8000000}; do
        [ "$SIZE" = full ] || accounts=2000
        ours_for 50 "$parts/bin/flipbook" bench transfer --device "$device" --json --accounts "$accounts" --steps 24 --threads "$(nproc)" >"$work/transfer.txt" 2>"$work/words.txt"
        rc=$?
        cat "$work/words.txt" >>"$log"
        relay <"$work/transfer.txt"
        record "\"program\": \"bench transfer\", \"accounts\": $accounts, \"rc\": $rc, \"words\": \"$([ $rc = 0 ] || tail -n 1 "$work/words.txt" | quoted)\""
        [ "$SIZE" = full ] || break
    done
    for way in full delta resident; do
        train_row "payments-$way" "$device" 1 30 payments.h5 --model evolvegcn-o --task node --hidden 16 --epochs 3 --eval-every 3 --edge-life $life --transfer $way
    done
    same_losses payments-delta payments-full
    same_losses payments-resident payments-full
}

# ---- PyTorch and PyG on the same GPU ----
section_peers() {
    local data=$work/data/static hidden
    have_torch || { record '"peer": "none", "words": "python3 has no torch and numpy here"'; return; }
    [ -f "$data/indptr.npy" ] || { record '"peer": "none", "words": "the graph was not made (section data)"'; return; }
    for hidden in 128 256; do
        timeout --foreground -k 5 45 python3 "$here/gpu-peers.py" train "$data" --hidden "$hidden" >"$work/peers.txt" 2>>"$log"
        relay <"$work/peers.txt"
        grep -q '^{' "$work/peers.txt" || record "\"peer\": \"failed\", \"hidden\": $hidden, \"words\": \"$(tail -n 2 "$log" | quoted)\""
    done
    PYTHONPATH=$here/packages timeout --foreground -k 5 60 python3 "$here/gpu-peers.py" sampled "$data" --workers $(($(nproc) / 2)) >"$work/peers.txt" 2>>"$log"
    relay <"$work/peers.txt"
    grep -q '^{' "$work/peers.txt" || record "\"peer\": \"failed\", \"words\": \"$(tail -n 2 "$log" | quoted)\""
}

# ---- compute-sanitizer ----
section_sanitizer() {
    local sanitizer tool row options more graph task start rc
    sanitizer=$(command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer 2>/dev/null) || { record '"tool": "none", "words": "there is no compute-sanitizer here"'; return; }
    [ -f "$work/data/small.h5" ] || generate small sbm --nodes 400 --steps 6 --drift 0.01 --labels-change
    [ -f "$work/data/paid.h5" ] || generate paid payments --nodes 400 --steps 6 --payments 8 # weighted
    for tool in memcheck racecheck; do
        for row in sage cdgcn evolvegcn-o tmgcn gat sage-labor gat-weighted gat-recent tmgcn-delta t219_draws t222_groups t218_entries t200_kernels t210_cells t212_steps t214_operators t216_losses t342_patch t205_products t225_packed; do
            options=("$parts/bin/$row") graph=small task=node more=()
            case $row in # batches drawn, and matrices made, on the device
            *-weighted) graph=paid task=edge ;;&
            *-labor | *-weighted | *-recent) more=(--batch 500 --fanout "4,9" --sampling "${row#*-}") ;;
            *-delta) more=(--transfer delta --blocks 2) ;;
            esac
            case $tool-$row in
            racecheck-t*_*) continue ;;
            *-t*_*) [ -x "$parts/bin/$row" ] || continue ;;
            *) options=("$parts/bin/flipbook" train "$work/data/$graph.h5" --device "$device" --task $task --hidden 8 --epochs 2 --threads 1 --model "${row%-[ldrw]*}" "${more[@]}") ;;
            esac
            start=$(now)
            # t200 asks for more memory than there is, on purpose: what the API answers is no fault
            timeout --foreground -k 5 30 "$sanitizer" --tool $tool $([ $tool = racecheck ] || echo --report-api-errors no) --target-processes all --error-exitcode 9 env LD_LIBRARY_PATH="$libraries" "${options[@]}" >"$work/sanitizer.txt" 2>&1
            rc=$?
            { echo "== $tool $row"; tail -n 40 "$work/sanitizer.txt"; } >>"$log"
            record "\"tool\": \"$tool\", \"run\": \"$row\", \"rc\": $rc, \"seconds\": $(since "$start"), \"words\": \"$(grep -E 'ERROR SUMMARY|RACECHECK SUMMARY|========= (Invalid|Error|Program hit)' "$work/sanitizer.txt" | head -n 3 | quoted)\""
        done
    done
}

# ---- one section, or all of them each with its limit ----
if [ "${1:-}" = --section ]; then
    section=$2
    "section_$section"
    exit
fi
limit_of() {
    case $1 in
    facts) echo 20 ;; kernels) echo 90 ;; bench) echo 90 ;; data) echo 70 ;; train) echo 165 ;;
    transfer) echo 110 ;; peers) echo 110 ;; sanitizer) echo 145 ;; *) echo 0 ;;
    esac
}
: >"$report"
: >"$log"
total=${SECONDS_IN_ALL:-$((465 * patience))}
# Rows of a section that tell of a failure: an exit code, losses or values that differ.
failures() {
    awk -v want="$1" "$reader"'
        get("section") == want { n += (get("rc") != "nan" && get("rc") != 0) || get("holds") == "false" || get("agrees") == "false" || get("peer") == "failed" }
        END { print n + 0 }' "$report"
}
failed=()
for section in $sections; do
    limit=$(($(limit_of "$section") * patience)) left=$((total - SECONDS))
    [ "$limit" -gt 0 ] || { say "no section is called '$section'"; failed+=("$section (unknown)"); continue; }
    [ "$left" -ge "$limit" ] || limit=$left
    if [ "$limit" -lt 5 ]; then
        record '"skipped": true, "words": "no time is left"'
        failed+=("$section (no time)")
        continue
    fi
    start=$SECONDS
    timeout -k 10 "$limit" bash "$0" --section "$section" 2>>"$log"
    rc=$?
    state=passed n=$(failures "$section")
    [ $rc = 0 ] || state="exit $rc"
    [ "$n" = 0 ] || state="$n failed"
    [ $rc != 124 ] && [ $rc != 137 ] || state="cut off"
    record "\"took_seconds\": $((SECONDS - start)), \"limit_seconds\": $limit, \"rc\": $rc, \"state\": \"$state\""
    say "$section: $((SECONDS - start)) s of $limit, $state"
    [ "$state" = passed ] || failed+=("$section ($state)")
done
section=all
record "\"failed_sections\": ${#failed[@]}, \"which\": \"$(IFS=,; printf %s "${failed[*]}" | quoted)\""

# ---- the table ----
awk "$reader"'
function row(text) { print text }
{ s = get("section") }
s == "facts" && /"gpu"/ { printf "%s  GPU: %s, driver %s, %s cores, commit %s\n", get("date"), get("gpu"), get("driver"), get("cores"), substr(get("commit"), 1, 10) }
/"skipped"/ { printf "%-10s skipped: %s\n", s, get("words") }
/"took_seconds"/ && get("state") != "passed" { printf "%-10s NOT PASSED: %s (exit %s after %s s)\n", s, get("state"), get("rc"), get("took_seconds") }
/"failed_sections"/ { printf "all        %s\n", get("failed_sections") == 0 ? "every section passed" : get("failed_sections") " not passed: " get("which") }
s == "kernels" && /"program"/ { printf "%-10s %-16s passed %s, failed %s, exit %s, %s s [%s] %s\n", s, get("program"), get("passed"), get("failed"), get("rc"), get("seconds"), get("tables"), get("first_failure") }
s == "bench" && /"limits"/ { printf "bench      copy %s GB/s, product %.1f TFLOP/s, bf16 %.1f\n", get("copy_gb_per_second"), get("product_gflops") / 1e3, get("product_gflops_bf16") / 1e3 }
s == "bench" && /"kernel"/ { printf "bench      %-14s %-5s %8s x %-4s x %-4s %9.3f ms %9.1f GFLOP/s %8.1f GB/s  reached %3.0f %%  error %.1e%s\n", get("kernel"), get("graph"), get("m"), get("n"), get("k"), get("seconds") * 1e3, get("gflops"), get("gb_per_second"), 100 * get("fraction"), get("error"), get("agrees") == "true" ? "" : "  DIFFERS" }
s == "bench" && /"program"/ && get("rc") != 0 { printf "bench      ended with %s: %s\n", get("rc"), get("words") }
/"losses"/ { printf "%-10s %-26s %-5s ranks %s  %10.2f ms an epoch  GPU %s MB  RSS %.0f MB  test %s  %s\n", s, get("row"), get("device"), get("ranks"), get("seconds_per_epoch") * 1e3, get("gpu_memory_mb"), get("peak_rss_bytes") / 1e6, get("test"), get("rc") == 0 ? "" : "exit " get("rc") ": " get("words"); if (get("device") != "cpu") epoch[get("row")] = get("seconds_per_epoch") + 0 }
/"compared"/ { printf "%-10s %-26s losses of %s epochs apart by %s (bar %s) %s; %s times as fast as the other\n", s, get("compared"), get("epochs"), get("largest_relative_difference"), get("bar"), get("holds") == "true" ? "holds" : "MISSED", get("times_as_fast") }
s == "transfer" && /"transfer", "bytes"/ { largest = get("gb_per_second") }
s == "transfer" && /"network"/ { printf "transfer   largest copy %s GB/s; payments of %s accounts, %s steps, life %s: %s entries in all snapshots\n", largest, get("accounts"), get("steps"), get("life"), get("entries")
    printf "transfer     full  %6.1f MB  send %8.2f ms at %5.1f GB/s  matrix %8.2f ms\n", get("full_bytes") / 1e6, get("full_send_ms"), get("full_gb_per_second"), get("full_matrix_ms")
    printf "transfer     delta %6.1f MB  send %8.2f ms at %5.1f GB/s  matrix %8.2f ms  patch %.2f ms\n", get("delta_bytes") / 1e6, get("delta_send_ms"), get("delta_gb_per_second"), get("delta_matrix_ms"), get("patch_ms")
    printf "transfer     full over delta: bytes %s, sending %s (bar 3), all %s\n", get("ratio_bytes"), get("ratio_send"), get("ratio") }
s == "transfer" && /"program"/ && get("rc") != 0 { printf "transfer   ended with %s: %s\n", get("rc"), get("words") }
s == "peers" && /"peer"/ { printf "peers      %-14s hidden %s  %10.2f ms an epoch  GPU %s MB  accuracy %s  %s\n", get("peer"), get("hidden"), get("seconds_per_epoch") * 1e3, get("peak_gpu_mb"), get("accuracy"), get("words") == "nan" ? "" : get("words")
    name = "sage-h" get("hidden") (get("peer") ~ /sampled/ ? "-sampled" : ""); t = get("seconds_per_epoch") + 0
    if (t > 0) for (plain = 0; plain < 2; plain++) { ours = epoch[name (plain ? "-noprecompute" : "")]; if (ours > 0) printf "peers      %-14s hidden %s: %s%s is %.2f times as fast%s\n", get("peer"), get("hidden"), name, plain ? "-noprecompute" : "", t / ours, get("peer") ~ /pyg/ ? " (bar 2)" : "" } }
s == "sanitizer" && /"tool"/ { printf "sanitizer  %-9s %-13s exit %s, %s s  %s\n", get("tool"), get("run"), get("rc"), get("seconds"), get("words") }
' "$report" | tee "$out/table.txt"
[ ${#failed[@]} -eq 0 ]
