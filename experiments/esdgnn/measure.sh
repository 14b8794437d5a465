# shellcheck shell=bash
# One training run and what it counted (sourced).

# run RANKS NAME GRAPH OPTIONS…: trains once (a complete report is kept); the summary is in $summary,
# "" where the program refuses the options (a distribution that a model does not have).
run() {
    local ranks=$1 report=$OUT/run-$2.jsonl graph=$OUT/$3.h5 start=()
    shift 3
    [ "$ranks" -eq 1 ] || start=(mpirun --oversubscribe --bind-to none -n "$ranks")
    summary=''
    if ! grep -q '"record": *"summary"' "$report" 2>/dev/null; then
        local code=0
        rm -f "$report"
        "${start[@]}" "$FLIPBOOK" train "$graph" "$@" --threads 1 --report "$report" >"${report%.jsonl}.log" 2>&1 || code=$?
        if [ $code -eq 2 ]; then return 0; fi
        if [ $code -ne 0 ]; then
            tail -n 8 "${report%.jsonl}.log" >&2
            exit 1
        fi
    fi
    summary=$(grep '"record": *"summary"' "$report")
}

# get EXPRESSION: of $summary, by jq.
get() { jq -r "$1" <<<"$summary"; }

# draw OUT.png SCRIPT: gnuplot with one look for all; colours told apart by everyone (Okabe, Ito).
draw() {
    gnuplot <<EOF
set terminal pngcairo size ${WIDTH:-1200},${HEIGHT:-480} font 'DejaVu Sans,11' background '#ffffff'
set output '$1'
set linetype 1 lc rgb '#0072b2' lw 2 pt 7
set linetype 2 lc rgb '#d55e00' lw 2 pt 5
set linetype 3 lc rgb '#009e73' lw 2 pt 9
set linetype 4 lc rgb '#cc79a7' lw 2 pt 13
set linetype 5 lc rgb '#e69f00' lw 2 pt 11
set linetype 6 lc rgb '#56b4e9' lw 2 pt 6
set linetype 7 lc rgb '#666666' lw 2 pt 4
set linetype 8 lc rgb '#f0e442' lw 2 pt 8
set linetype 9 lc rgb '#000000' lw 2 pt 2
set border 3 lc rgb '#666666'
set tics nomirror out
set grid lc rgb '#e4e4e4' lt 1
set datafile separator '\t'
set datafile missing NaN
$2
EOF
    say "picture: $1"
}
