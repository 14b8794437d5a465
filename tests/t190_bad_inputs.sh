#!/usr/bin/env bash
# Bad input: each line of bad_inputs.tsv is a command with its exit code and its exact message.
#   t190_bad_inputs.sh FLIPBOOK [MPIRUN]
# FLIP_BLESS=1 prints the table with what this program says instead (read every line of it!).
set -u
shopt -s extglob
flipbook=$(realpath "$1")
mpirun=${2:-mpirun}
table=$(dirname "$(realpath "$0")")/bad_inputs.tsv
work=$(mktemp -d "${TMPDIR:-/tmp}/flipbook-t190-XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
mkdir bin && ln -s "$flipbook" bin/flipbook
export PATH=$work/bin:$PATH LC_ALL=C OMP_NUM_THREADS=1
# sanitizer build: leaks are looked for by the other tests; here they would take minutes
export ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0:fast_unwind_on_malloc=1
ranks() { "$mpirun" --oversubscribe --bind-to none -n "$@"; }
export -f ranks
export mpirun

# npy FILE DESCR SHAPE BYTES: a .npy file by hand; BYTES as printf takes them
npy() {
    local header="{'descr': '$2', 'fortran_order': False, 'shape': $3, }" length
    while (((${#header} + 11) % 64)); do header+=' '; done
    length=$((${#header} + 1))
    printf '\x93NUMPY\x01\x00' >"$1"
    printf "\\x$(printf %02x $((length % 256)))\\x$(printf %02x $((length / 256)))" >>"$1"
    printf '%s\n' "$header" >>"$1"
    printf "$4" >>"$1"
}

# times TEXT N
times() { local i; for ((i = 0; i < $2; i++)); do printf '%s' "$1"; done; }

raw_files() {
    : >empty.csv
    printf '# only\n# comments\n' >comments.csv
    printf '1,2\n3\n' >short.csv
    printf '1,2,5\n1,2,5,6\n' >long.csv
    printf '1,2,3\n3,4,x\n' >word.csv
    printf '1,2,nan\n' >nan.csv
    printf '1,2,1e999\n' >infinite.csv
    printf '1,2\n18446744073709551616,2\n' >wide.csv
    printf '1,2\n9223372036854775808,2\n' >over.csv
    printf '1.5,2\n' >fraction.csv
    printf '1,2\n1,\0002\n' >nul.csv
    printf '\xff\xfe1\0,\0002\0\n\0' >utf16.csv
    printf '1,2,yesterday\n' >when.csv
    printf '1,2,10\n1,3,20\n' >ok.csv
    printf '1,2,10\n1,,20\n' >hole.csv
    printf '1,2,%s\n2,3,b\n' "$(times a 130)" >wordy.csv
    printf '1,2,1e308\n2,3,-1e308\n' >far.csv
    printf '"1,2,3\n4,5,6\n' >quote.csv
    printf '1,2,10\n1,3,20\n' | gzip -n | head -c 20 >cut.csv.gz
    printf '\x28\xb5\x2f\xfdgarbage' >broken.csv.zst
    printf '\x1f\x8b\x09\x00garbage.....' >broken.csv.gz
    printf 'a\0b\0\1\2\3' >binary.csv
    printf '0,1\n1,2\n2,0\n' >triangle.csv
    printf '0,1,1,10\n1,2,-1,20\n2,0,1,30\n0,2,-1,40\n' >signed.csv
    printf '0,1,1\n1,2,-1\n2,0,1\n0,2,-3\n1,0,-2\n2,1,4\n0,1,-5\n1,2,-6\n2,0,-7\n' >negative.csv
    seq 1 1500 | sed 's/.*/&,0/' >thousand.csv
    seq 1 300 | sed 's/.*/0,&/' >star.csv
    printf '0,0\n3,3\n3,3\n' >loops.csv
    mkdir nothing
    mkfifo pipe
}

npy_files() {
    local f=$(times '\0\0\x80\x3f' 6) # six ones
    printf 'not npy' >text.npy
    npy f_good.npy '<f4' '(3, 2)' "$f"
    npy f_short.npy '<f4' '(2, 3)' "$f"
    npy f_cut.npy '<f4' '(3, 2)' '\0\0\x80\x3f'
    npy f_nan.npy '<f4' '(3, 2)' "$(times '\0\0\x80\x3f' 5)"'\0\0\xc0\x7f'
    npy f_object.npy '|O' '(3, 2)' "$f"
    npy f_deep.npy '<f4' '(3, 2, 1, 1, 1)' "$f"
    npy f_huge.npy '<f4' '(3, 4611686018427387904)' "$f"
    npy l_low.npy '<i4' '(3,)' '\0\0\0\0\xfe\xff\xff\xff\0\0\0\0'
    npy l_good.npy '<i4' '(3,)' '\0\0\0\0\1\0\0\0\0\0\0\0'
    npy l_long.npy '<i4' '(4,)' '\0\0\0\0\1\0\0\0\0\0\0\0\0\0\0\0'
    npy l_real.npy '<f4' '(3,)' '\0\0\x80\x3f\0\0\xc0\x3f\0\0\x80\x3f'
    npy s_bad.npy '|i1' '(3,)' '\0\1\5'
    npy s_none.npy '|i1' '(3,)' '\1\2\2'
    npy x_ptr.npy '<i8' '(4,)' '\0\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\2\0\0\0\0\0\0\0'
    npy x_good.npy '<i8' '(4,)' '\0\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\2\0\0\0\0\0\0\0'
    npy x_idx.npy '<i4' '(2,)' '\0\0\0\0\xff\xff\xff\xff'
}

containers() {
    flipbook generate sbm -o g.h5 --nodes 200 --blocks 4 --seed 1
    flipbook partition g.h5 -o p.h5 --parts 4
    flipbook train g.h5 --epochs 2 --checkpoint c.h5
    flipbook import triangle.csv -o triangle.h5
    flipbook import triangle.csv -o labelled.h5 --labels l_good.npy --splits s_none.npy --features f_good.npy
    flipbook import triangle.csv -o nan.h5 --labels l_good.npy --features f_nan.npy --allow-nan
    flipbook import star.csv -o star.h5 --undirected
    flipbook import triangle.csv -o lonely.h5 --nodes 50
    flipbook import signed.csv -o signed.h5 --columns src,dst,weight,time --steps 4 --label sign
    flipbook import wordy.csv -o wordy.h5 --columns src,dst,label
    flipbook import negative.csv -o negative.h5 --columns src,dst,weight
    head -c 3000 g.h5 >cut.h5
    head -c 3000 c.h5 >cutc.h5
    { cat g.h5; printf x; } >longer.h5
    { head -c 5000 g.h5; printf '\377\377'; tail -c +5003 g.h5; } >flipped.h5
    { head -c -70 g.h5; printf '\377'; tail -c 69 g.h5; } >table.h5
    { head -c -1 g.h5; printf '\377'; } >trailer.h5
}

settings_files() {
    printf 'lr: fast\n' >lr.yaml
    printf 'epochs: 3\nlearning-rate: 1\n' >key.yaml
    printf 'lr: [1\n' >open.yaml
    printf 'lr: 1\nlr: 2\n' >twice.yaml
    printf 'epochs: 3\n\tlr: 2\n' >tab.yaml
    printf 'layers: 99999999999\n' >range.yaml
}

{ raw_files; npy_files; containers; settings_files; } >setup.log 2>&1
[ -e g.h5 ] && [ -e c.h5 ] && [ -e signed.h5 ] || { cat setup.log; echo "Bail out! the good inputs could not be made"; exit 1; }

# says FOUND EXPECTED: equal, but for <N>
says() {
    local pattern=$2 special
    for special in '\' '[' ']' '?' '*'; do pattern=${pattern//"$special"/"\\$special"}; done
    [[ $1 == ${pattern//<N>/+([0-9])} ]]
}

n=0 failed=0
[ -n "${FLIP_BLESS:-}" ] || echo "1..$(grep -cv '^#\|^$' "$table")"
while IFS=$'\t' read -r code command message; do
    case $code in '' | '#'*) [ -n "${FLIP_BLESS:-}" ] && printf '%s\n' "$code${command:+	$command}"; continue ;; esac
    n=$((n + 1))
    timeout 60 bash -c "$command" >out.txt 2>err.txt </dev/null
    found_code=$?
    found=$(grep -a '^flipbook: ' err.txt | sed 's/^flipbook: //' | paste -sd '~')
    if [ -n "${FLIP_BLESS:-}" ]; then
        printf '%s\t%s\t%s\n' "$found_code" "$command" "$found"
    elif [ "$found_code" = "$code" ] && says "$found" "$message"; then
        echo "ok $n - $command"
    else
        failed=$((failed + 1))
        echo "not ok $n - $command"
        echo "# expected [$code] $message"
        echo "# found    [$found_code] $found"
        sed 's/^/# /' err.txt | head -n 5
    fi
done <"$table"
# nothing half-made is left behind
left=$(find . -name '*.tmp.*' | head -n 3)
[ -z "$left" ] || { echo "# left behind: $left"; failed=$((failed + 1)); }
exit $((failed > 0))
