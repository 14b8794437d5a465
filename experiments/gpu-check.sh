#!/usr/bin/env bash
# Makes a folder that checks Flipbook on a machine with a GPU and nothing else: the program, the
# kernel checkers, every library they need but glibc's and CUDA's, Open MPI's parts, the peers'
# script, and one command to run there. A GPU is often lent for minutes, and what runs there copied
# there first: hence under 8 minutes and under 60 MB (a larger folder is told by exit 1).
#
#   experiments/gpu-check.sh          # here: build/gpu-check
#   build/gpu-check/run.sh            # there; its report.jsonl and table.txt are the results
#
# OUT       the folder (default build/gpu-check)
# BUILD     a build with CUDA (default build/cuda; made with -Dcuda=enabled -Dshared=true where it is
#           not there: with a library of its own in each program the folder is twice as large)
# GPU_ARCHS compute capabilities for that build (default the project's)
# PACKAGES  folder of Python packages that the peers there are to find (a sampler for PyG, compiled
#           for the PyTorch there); without it they have what is installed
# PEERS     folder with gen_graph.py (default ../shared/peers): there it makes the graph that
#           PyTorch and Flipbook train on; without it gpu-peers.py makes one alike
#
# A build with -Dcuda=emulated may be given too: the same run without a GPU, with SIZE=small.
set -euo pipefail
cd "$(dirname "$0")/.."
OUT=${OUT:-build/gpu-check}
BUILD=${BUILD:-build/cuda}
PACKAGES=${PACKAGES:-}
PEERS=${PEERS:-../shared/peers}
checkers="200 205 210 212 214 216 218 219 222 225 340 342 500 505 510 515 520 522 524" # tests that run over the table of a device

# ---- the programs ----
[ -f "$BUILD/build.ninja" ] || meson setup "$BUILD" . -Dcuda=enabled -Dshared=true ${GPU_ARCHS:+-Dgpu_archs="$GPU_ARCHS"} >/dev/null
targets=(flipbook)
for number in $checkers; do
    for source in "tests/t${number}"_*.c; do
        if [ -f "$source" ]; then targets+=("${source%.c}"); fi
    done
done
nice ninja -C "$BUILD" "${targets[@]}" >"$BUILD/gpu-check.log" || { tail -n 20 "$BUILD/gpu-check.log" >&2; exit 1; }
rm -rf "$OUT"
parts=$OUT/parts
mkdir -p "$parts"/bin "$parts"/lib "$parts"/mpi/{bin,lib,share,etc}
for t in "${targets[@]}"; do
    install -s -m 755 "$BUILD/$t" "$parts/bin/"
done

# ---- Open MPI: programs, plugins but those for networks that are not there, help files ----
where() { ompi_info --path "$1" --parsable | awk -F: '{ print $NF }'; }
plugins=$(where pkglibdir)
install -s -m 755 "$(readlink -f "$(command -v mpirun)")" "$parts/mpi/bin/mpirun"
install -s -m 755 "$(where bindir)/orted" "$parts/mpi/bin/orted"
for plugin in "$plugins"/mca_*.so; do
    case $(basename "$plugin" .so) in
    *_ucx | *_ofi | *_psm | *_psm2 | *_openib | *_monitoring | *spml* | *scoll* | *memheap* | *sshmem* | *_flux | *_jsm) ;;
    *) install -m 644 "$plugin" "$parts/mpi/lib/" ;;
    esac
done
cp -r "$(where pkgdatadir)/." "$parts/mpi/share/"
cp "$(where sysconfdir)"/openmpi-mca-params.conf "$parts/mpi/etc/"
pmix=$(ldd "$plugins/mca_pmix_ext3x.so" 2>/dev/null | awk '/libpmix/ { print $3 }')
if [ -n "$pmix" ]; then # PMIx has plugins of its own, beside its library
    mkdir -p "$parts/mpi/pmix"
    cp "$(dirname "$(readlink -f "$pmix")")"/pmix/*.so "$parts/mpi/pmix/"
fi

# ---- the libraries, but those that come with the system or with CUDA ----
if [ -f "$BUILD/libflipbook.so" ]; then install -s -m 755 "$BUILD/libflipbook.so" "$parts/lib/"; fi
find "$parts" -type f \( -name '*.so' -o -perm -100 \) -print0 |
    LD_LIBRARY_PATH=$parts/lib xargs -0 -n 1 ldd >"$BUILD/gpu-check.ldd" 2>/dev/null || true # of scripts there is none
if grep -m 1 'not found' "$BUILD/gpu-check.ldd" >&2; then exit 1; fi
awk -v here="$parts/" '/=> \// && index($3, here) != 1 { print $3 }' "$BUILD/gpu-check.ldd" | sort -u |
    grep -Ev '/(libc|libm|libpthread|libdl|librt|libresolv|libutil|ld-linux[^/]*)\.so|/lib(cuda|cudart|cublas|cublasLt|cusparse|nvidia|nccl|nvrtc)[^/]*\.so' |
    while read -r library; do
        cp -L "$library" "$parts/lib/$(basename "$library")"
    done

# ---- what runs there ----
tar -C "$parts" -c . | gzip -9 >"$OUT/parts.tar.gz"
rm -r "$parts"
cp experiments/gpu-run.sh "$OUT/run.sh"
cp experiments/gpu-peers.py "$OUT/"
if [ -n "$PACKAGES" ]; then cp -rL "$PACKAGES" "$OUT/packages"; fi
if [ -f "$PEERS/gen_graph.py" ]; then cp "$PEERS/gen_graph.py" "$OUT/"; fi
"$BUILD/flipbook" info --build >"$OUT/build.txt"
git -C "$(sed -n 's/.*"source": "\([^"]*\)".*/\1/p' "$BUILD/meson-info/meson-info.json" | head -n 1)" rev-parse HEAD >"$OUT/commit.txt" 2>/dev/null || true
du -sm "$OUT" | awk '{ printf "%s MB\n", $1; exit $1 >= 60 }'
