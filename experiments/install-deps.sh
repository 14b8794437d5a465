#!/usr/bin/env bash
# Installs what Flipbook needs and this machine lacks, from the distribution (Debian 12 or a relative
# with apt-get), as root or through sudo. Says what it installs; quiet when nothing is missing.
#
#   experiments/install-deps.sh [build] [plot] [tests] [slurm]        default: build plot
#
# build  compiler, Meson, Open MPI, parallel HDF5, METIS, OpenBLAS and the small libraries
# plot   gnuplot, for the curves
# tests  clang, clang-format and the HDF5 tools that tests/run.sh uses
# slurm  a one-node Slurm for tests/slurm.sh; its daemons are not started
#
# Without apt-get it lists what is needed and leaves the rest to the machine's own modules.
set -euo pipefail

build=(gcc g++ libc6-dev meson ninja-build pkg-config openmpi-bin libopenmpi-dev libhdf5-openmpi-dev
       libmetis-dev libopenblas-dev libcyaml-dev libyaml-dev libjansson-dev libxxhash-dev
       librandom123-dev libhwloc-dev libzstd-dev zlib1g-dev libcmocka-dev)
plot=(gnuplot-nox fonts-dejavu-core)
tests=(libudev-dev clang clang-format libomp-dev libclang-rt-14-dev hdf5-tools zstd gzip git procps)
slurm=(slurmctld slurmd slurm-client munge)

[ $# -gt 0 ] || set -- build plot
wanted=()
for group; do
    case $group in
    build) wanted+=("${build[@]}") ;;
    plot) wanted+=("${plot[@]}") ;;
    tests) wanted+=("${tests[@]}") ;;
    slurm) wanted+=("${slurm[@]}") ;;
    *)
        echo "install-deps.sh: unknown group '$group'; groups are build, plot, tests, slurm" >&2
        exit 2
        ;;
    esac
done

if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
    echo "install-deps.sh: no apt-get here; Flipbook needs the equivalents of: ${wanted[*]}" >&2
    exit 0
fi

missing=()
for package in "${wanted[@]}"; do
    state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$state" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
        echo "install-deps.sh: missing ${missing[*]}; no root and no sudo here. Ask for:" >&2
        echo "  apt-get install --no-install-recommends ${missing[*]}" >&2
        exit 1
    fi
    as_root=(sudo)
fi

# No daemon starts by itself on installation: the package system asks this file, and 101 forbids.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
    "${as_root[@]}" chmod 755 "$policy"
    trap '"${as_root[@]}" rm -f "$policy"' EXIT
fi

echo "installing ${#missing[@]} packages: ${missing[*]}"
log=$(mktemp)
apt() {
    if ! "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq "$@" >"$log" 2>&1 </dev/null; then
        tail -n 20 "$log" >&2
        echo "install-deps.sh: apt-get $1 failed (log: $log)" >&2
        exit 1
    fi
}
apt update
apt install -y --no-install-recommends "${missing[@]}"
rm -f "$log"
