# shellcheck shell=bash
# Shared by the accuracy scripts (sourced): where data and program are, runs over seeds, mean and
# spread. Reports are kept in $OUT and not run again while they are complete; remove $OUT to start
# afresh.
#
# DATA      folder of the public data sets (default ../shared/data)
# FLIPBOOK  the program (default build/flipbook);  OUT  default build/accuracy
# SEEDS     default 10;  RANKS  default 1;  THREADS  a rank, default 1
# EXTRA     options of every run, as EXTRA='--transfer delta --blocks 5'
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/../.."
DATA=${DATA:-../shared/data}
FLIPBOOK=${FLIPBOOK:-build/flipbook}
OUT=${OUT:-build/accuracy}
SEEDS=${SEEDS:-10}
RANKS=${RANKS:-1}
THREADS=${THREADS:-1}
[ -d "$DATA" ] || {
    echo "$0: no data at $DATA; set DATA to the folder that holds cora, bitcoin-otc, …"
    exit 77
}
[ -x "$FLIPBOOK" ] || {
    echo "$0: no program at $FLIPBOOK; build it with meson setup build && ninja -C build"
    exit 1
}
mkdir -p "$OUT"
[ "$(id -u)" -ne 0 ] || export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
start=()
[ "$RANKS" -eq 1 ] || start=(mpirun --oversubscribe --bind-to none -n "$RANKS")

# graph NAME ARGUMENTS OF flipbook import: imports once; the path is in $graph.
graph() {
    graph=$OUT/$1.h5
    shift
    [ -f "$graph" ] || "$FLIPBOOK" import "$@" -o "$graph" >"$graph.log" 2>&1 || {
        cat "$graph.log"
        exit 1
    }
}

# train NAME OPTIONS: one run, unless its report is complete; the path is in $report.
train() {
    report=$OUT/$1.jsonl
    shift
    ! grep -q '"record": *"summary"' "$report" 2>/dev/null || return 0
    rm -f "$report"
    # shellcheck disable=SC2086 # several options
    "${start[@]}" "$FLIPBOOK" train "$graph" "$@" ${EXTRA:-} --threads "$THREADS" --report "$report" >"${report%.jsonl}.log" 2>&1 || {
        tail -n 20 "${report%.jsonl}.log"
        exit 1
    }
}

# of FIELD REPORT…: that field of each summary, a line each.
of() {
    local field=$1
    shift
    sed -nE '/"record": *"summary"/s/^\{[^{]*"'"$field"'": *([^,}]*).*/\1/p' "$@"
}

# link_of SPLIT METRIC REPORT…: link prediction's map, mrr, mrr_filtered or auc of valid or test.
link_of() {
    local split=$1 metric=$2
    shift 2
    sed -nE '/"record": *"summary"/s/.*"link": *\{.*"'"$split"'": *\{[^}]*"'"$metric"'": *([^,}]*).*/\1/p' "$@"
}

# spread: mean and sample standard deviation of the numbers on standard input, in percent where $1
# is 100.
spread() {
    awk -v scale="$1" '{ s += $1; q += $1 * $1; n++ }
        END { m = s / n; v = n > 1 ? (q - n * m * m) / (n - 1) : 0; f = scale == 100 ? "%.2f ± %.2f" : "%.4f ± %.4f"
            printf f, m * scale, sqrt(v > 0 ? v : 0) * scale }'
}
