#!/usr/bin/env bash
# Draws the loss and the validation curves of training reports, one line a report.
#
#   experiments/plot-curves.sh OUT.png REPORT.jsonl…
#
# Reports are what `flipbook train --report` writes: JSON, one record a line. Needs gnuplot and awk.
set -euo pipefail
if [ $# -lt 2 ]; then
    sed -n '2,6s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
out=$1
shift
command -v gnuplot >/dev/null || {
    echo "plot-curves.sh: gnuplot is missing; experiments/install-deps.sh plot installs it" >&2
    exit 1
}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# One record a line: find "key": value without a JSON reader; strings of ours hold no quotes.
# shellcheck disable=SC2016
reader='
function get(key,    at, rest) {
    at = index($0, "\"" key "\":")
    if (!at) return "nan"
    rest = substr($0, at + length(key) + 3)
    sub(/^ */, "", rest)
    if (substr(rest, 1, 1) == "\"") { rest = substr(rest, 2); sub(/".*/, "", rest) }
    else sub(/[,}].*/, "", rest)
    return rest == "null" ? "nan" : rest
}
'
n=0 losses='' valids='' metric='' best=''
for report; do
    [ -s "$report" ] || {
        echo "plot-curves.sh: '$report' is not there or empty" >&2
        exit 1
    }
    data=$work/$n.dat
    # A run that was resumed writes an epoch twice when it stopped between checkpoints: the last counts.
    awk "$reader"'/"record": *"epoch"/ { e = get("epoch"); if (!(e in row)) order[++n] = e
        row[e] = e " " get("loss") " " get("valid") }
        END { for (i = 1; i <= n; i++) print row[order[i]] }' "$report" >"$data"
    [ -s "$data" ] || {
        echo "plot-curves.sh: '$report' has no epoch records" >&2
        exit 1
    }
    summary=$(awk "$reader"'/"record": *"summary"/ { s = get("best_epoch") " " get("valid") " " get("test") " " get("metric") }
        END { print s }' "$report")
    read -r epoch value test name <<<"${summary:-nan nan nan }"
    metric=${name:-$metric}
    title=$(basename "$report" .jsonl | tr '_' ' ')
    losses+="${losses:+, }'$data' using 1:2 with lines lw 2 lc $((n + 1)) title '$title'"
    valids+="${valids:+, }'$data' using 1:3 with lines lw 2 lc $((n + 1)) title '$title'"
    if [ "${epoch:-nan}" != nan ] && [ -n "${epoch:-}" ]; then
        echo "$epoch $value" >"$work/$n.best"
        label=$(LC_ALL=C printf 'best epoch %s: test %.3f' "$epoch" "$test" 2>/dev/null || true)
        best+=", '$work/$n.best' with points pt 7 ps 1.4 lc $((n + 1)) title '$label'"
    fi
    n=$((n + 1))
done

# Colours told apart by everyone (Okabe and Ito).
gnuplot <<EOF
set terminal pngcairo size 1200,460 font 'DejaVu Sans,11' background '#ffffff'
set output '$out'
set linetype 1 lc rgb '#0072b2'
set linetype 2 lc rgb '#d55e00'
set linetype 3 lc rgb '#009e73'
set linetype 4 lc rgb '#cc79a7'
set linetype 5 lc rgb '#e69f00'
set border 3 lc rgb '#666666'
set tics nomirror out
set grid lc rgb '#e4e4e4' lt 1
set xlabel 'epoch'
set multiplot layout 1,2
set title 'Training loss'
set key top right
plot $losses
set title 'Validation${metric:+ ($metric)}'
set key bottom right
plot $valids$best
unset multiplot
EOF
echo "curves: $out"
