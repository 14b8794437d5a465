#!/usr/bin/env bash
# `meson install` and its pkg-config file serve a program outside the tree: README's smallest program
# is compiled and linked with nothing but what pkg-config says (with --static and without), and trains on one and two ranks with
# the same loss. Also: README shows that program as it is.
#
#   tests/install.sh BUILD
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
build=$(cd "${1:-$root/build}" && pwd)
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_mpi_yield_when_idle=1 OMP_NUM_THREADS=1

# README's block is the file itself.
awk '/^```c$/ { inside = 1; next } /^```$/ { inside = 0 } inside' "$root/README.md" >"$dir/readme.c"
diff "$root/experiments/smallest.c" "$dir/readme.c" || {
    echo "README.md shows another program than experiments/smallest.c"
    exit 1
}

# A build of its own, so that the prefix of the caller's build stays as it is.
meson setup "$dir/build" "$root" --prefix "$dir/installed" -Dtests=false >"$dir/log" 2>&1 || { cat "$dir/log" && exit 1; }
meson install -C "$dir/build" >"$dir/log" 2>&1 || { tail -n 30 "$dir/log" && exit 1; }
PKG_CONFIG_PATH=$(dirname "$(find "$dir/installed" -name flipbook.pc)")
export PKG_CONFIG_PATH
cp "$root/experiments/smallest.c" "$dir/smallest.c"
cd "$dir"
for static in '' --static; do # the second also names what the shared libraries stand on
    read -ra flags <<<"$(pkg-config $static --cflags --libs flipbook)"
    gcc -Wall -Wextra -Werror smallest.c "${flags[@]}" -o smallest
    echo "compiled and linked with: pkg-config $static --cflags --libs flipbook"
done

installed/bin/flipbook generate sbm -o graph.h5 --nodes 2000 --seed 1
"$build/flipbook" check graph.h5
./smallest graph.h5 | tee one.txt
mpirun --oversubscribe --bind-to none -n 2 ./smallest graph.h5 | tee two.txt
# The same curve to 1e-5 on one rank and on two.
paste one.txt two.txt | awk '{ d = $4 - $8; if (d < 0) d = -d; if (d > 1e-5 || NF != 8) exit 1 } END { exit NR != 5 }' || {
    echo "the losses of one and two ranks differ"
    exit 1
}
awk 'NR == 1 { first = $4 } END { exit !($4 < 0.9 * first) }' one.txt || { echo "the loss did not fall" && exit 1; }
