# shellcheck shell=bash
# What the comparisons with peers share (sourced): what is missing, how peers are started, how rows
# are read and their medians printed. Needs PEERS, DATA, FLIPBOOK, PY, PYDGL; `results` is the file of
# rows "name seconds cpu-seconds MB score".

# peers_present SCRIPT MODULES NAME: exits 77 and names what is missing.
peers_present() {
    local missing=() name
    name=$(basename "$0")
    [ -f "$PEERS/$1" ] || missing+=("the peers' scripts (PEERS=$PEERS has no $1)")
    "${PY:-false}" -c "import $2" 2>/dev/null || missing+=("$3 (PY=${PY:-unset})")
    "${PYDGL:-false}" -c 'import os; os.environ["DGLBACKEND"]="pytorch"; import dgl' >/dev/null 2>&1 || missing+=("DGL (PYDGL=${PYDGL:-unset})")
    if [ ${#missing[@]} -gt 0 ]; then
        printf "$name: missing: %s\n" "${missing[@]}"
        exit 77
    fi
    [ -x "$FLIPBOOK" ] || {
        echo "$name: no program at $FLIPBOOK; build it with meson setup build && ninja -C build" >&2
        exit 1
    }
}

# Threads that wait sleep, for all alike: where cores are shared, waiting actively costs several times
# what it gives.
export OMP_WAIT_POLICY=passive
[ "$(id -u)" -ne 0 ] || export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1

# Peers with jemalloc where it is installed, as their own tuning guides advise.
allocator=()
find_allocator() {
    local jemalloc
    jemalloc=$(ldconfig -p | awk '/libjemalloc\.so\.2/ { print $NF; exit }')
    if [ -n "$jemalloc" ]; then
        allocator=("LD_PRELOAD=$jemalloc" "MALLOC_CONF=oversize_threshold:1,background_thread:true,metadata_thp:auto,thp:always,dirty_decay_ms:-1,muzzy_decay_ms:-1")
    else
        echo "note: jemalloc (libjemalloc2) is not installed; the peers run slower than they could"
    fi
}

# shellcheck disable=SC2016
reader='
function get(key,    at, rest) {
    at = index($0, "\"" key "\":")
    if (!at) return "nan"
    rest = substr($0, at + length(key) + 3)
    sub(/^ */, "", rest); sub(/[,}].*/, "", rest); gsub(/"/, "", rest)
    return rest
}
'
# peer_row NAME COMMAND…: runs a peer, which tells its memory in MiB.
peer_row() {
    local row=$1 out
    shift
    out=$(env "${allocator[@]}" PYTHONWARNINGS=ignore PYTHONDONTWRITEBYTECODE=1 "$@")
    awk -v row="$row" "$reader"'/sec_per_epoch/ { print row, get("sec_per_epoch"), get("cpu_sec_per_epoch"), get("peak_rss_mb") * 1.048576, get("accuracy") }' \
        <<<"$out" | tee -a "${results:?}"
}
# our_row NAME RANKS LOG OPTIONS…: runs flipbook train with them.
our_row() {
    local row=$1 ranks=$2 log=$3 report=$DATA/report.jsonl start=()
    shift 3
    rm -f "$report"
    [ "$ranks" -eq 1 ] || start=(mpirun --oversubscribe --bind-to none -n "$ranks")
    "${start[@]}" "$FLIPBOOK" train "$@" --report "$report" >"$log"
    awk -v row="$row" "$reader"'/"record": *"summary"/ { print row, get("seconds_per_epoch"), get("cpu_seconds_per_epoch"), get("peak_rss_bytes") / 1e6, get("test") }' \
        "$report" | tee -a "$results"
}

# The beginning of an awk program over the rows: median(row, column), bar(what, ratio, least), and
# print_rows(score's name), the table.
# shellcheck disable=SC2016,SC2034
medians='
{ n[$1]++; for (k = 2; k <= 5; k++) v[$1, k, n[$1]] = $k; if (!($1 in seen)) { seen[$1]; order[++rows] = $1 } }
function median(row, k,    i, j, m, a, t) {
    m = n[row]
    for (i = 1; i <= m; i++) a[i] = v[row, k, i] + 0
    for (i = 2; i <= m; i++) for (j = i; j > 1 && a[j] < a[j - 1]; j--) { t = a[j]; a[j] = a[j - 1]; a[j - 1] = t }
    return m % 2 ? a[(m + 1) / 2] : (a[m / 2] + a[m / 2 + 1]) / 2
}
function bar(what, ratio, least) {
    printf "%-62s %6.2f  bar %.2f  %s\n", what, ratio, least, (ratio >= least ? "holds" : "MISSED")
    if (!(ratio >= least)) missed++
}
function print_rows(score,    i) {
    printf "\n| row | s an epoch | CPU s an epoch | peak MB | %s |\n|---|---|---|---|---|\n", score
    for (i = 1; i <= rows; i++)
        printf "| %s | %.3f | %.3f | %.0f | %.4f |\n", order[i], median(order[i], 2), median(order[i], 3), median(order[i], 4), median(order[i], 5)
    print ""
}
'
