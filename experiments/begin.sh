# shellcheck shell=bash
# What the experiments of several parts begin with (sourced, in the root of the tree): the program,
# built where it is not there, tools, MPI, the folder OUT; say TEXT tells with the seconds since.
# Needs FLIPBOOK and OUT.
began=$SECONDS
[ -x "${FLIPBOOK:?}" ] || {
    echo "building $FLIPBOOK"
    [ -f build/build.ninja ] || meson setup build . >/dev/null
    ninja -C build flipbook >build/ninja.log || {
        tail -n 20 build/ninja.log >&2
        exit 1
    }
}
for tool in gnuplot jq; do
    command -v $tool >/dev/null || {
        echo "$0: $tool is missing; experiments/install-deps.sh plot installs it" >&2
        exit 1
    }
done
[ "$(id -u)" -ne 0 ] || export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export OMPI_MCA_mpi_yield_when_idle=1 OMP_NUM_THREADS=1
mkdir -p "${OUT:?}"
say() { printf '%5d s  %s\n' $((SECONDS - began)) "$*" >&2; }
