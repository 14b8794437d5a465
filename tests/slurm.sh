#!/usr/bin/env bash
# Trains under a real one-node Slurm through both job scripts of experiments/slurm, compares the loss
# with a plain mpirun run, then stops each run with USR1 part way: the ranks agree, write a checkpoint
# and end with 85, the job queues itself again, resumes, and must end with the bits of the
# uninterrupted run.
#
#   tests/slurm.sh BUILD        needs root, and Slurm and munge from the distribution; else exit 77
#
# The daemons run from a scratch folder, listen on 127.0.0.1 only, on ports of their own, and end with
# this script: exactly those it started, by process id.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
build=$(cd "${1:-$root/build}" && pwd)
export FLIPBOOK=${FLIPBOOK:-$build/flipbook}

skip() {
    echo "$*"
    exit 77
}
fail() {
    echo "FAILED: $*"
    tail -n 30 "$dir"/*.log "$dir"/*.out 2>/dev/null || true
    exit 1
}
[ "$(id -u)" -eq 0 ] || skip "Slurm's daemons need root here"
for tool in slurmctld slurmd sbatch squeue scontrol munged mungekey h5diff; do
    command -v $tool >/dev/null || skip "$tool is missing; experiments/install-deps.sh tests slurm installs it"
done
# An Open MPI program that srun starts needs the PMIx plugin.
find /usr/lib -name 'mpi_pmix*.so' 2>/dev/null | grep -q . || skip "this Slurm has no PMIx plugin"

dir=$(mktemp -d)
chmod 755 "$dir"
pids=()
finish() {
    local pid
    if [ ${#pids[@]} -gt 1 ]; then
        scancel --user=root >/dev/null 2>&1 || true
        scontrol shutdown >/dev/null 2>&1 || true
    fi
    for pid in "${pids[@]}"; do
        for _ in $(seq 50); do
            kill -0 "$pid" 2>/dev/null || break
            [ "$pid" = "${pids[0]}" ] && kill "$pid" 2>/dev/null
            sleep 0.1
        done
        kill -KILL "$pid" 2>/dev/null || true
    done
    rm -rf "$dir"
}
trap finish EXIT

# ---- the daemons ----
port=$((20000 + $$ % 10000 * 2))
mkdir "$dir/state" "$dir/spool"
cat >"$dir/slurm.conf" <<EOF
ClusterName=flipbook
SlurmctldHost=localhost(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$dir/munge.socket,cred_expire=5
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=bf_interval=2,sched_interval=2
SlurmctldPort=$port
SlurmdPort=$((port + 1))
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
ReturnToService=2
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.pid
NodeName=localhost NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=test Nodes=ALL Default=YES MaxTime=INFINITE State=UP OverSubscribe=FORCE:2
EOF
export SLURM_CONF=$dir/slurm.conf
mungekey --create --keyfile="$dir/munge.key"
munged --foreground --force --socket="$dir/munge.socket" --pid-file="$dir/munged.pid" \
    --log-file="$dir/munged.log" --seed-file="$dir/munge.seed" --key-file="$dir/munge.key" >"$dir/munged.out" 2>&1 &
pids=($!)
for _ in $(seq 50); do [ ! -S "$dir/munge.socket" ] || break; sleep 0.1; done
slurmctld -D -f "$SLURM_CONF" >"$dir/slurmctld.log" 2>&1 &
pids+=($!)
slurmd -D -f "$SLURM_CONF" -N localhost >"$dir/slurmd.log" 2>&1 &
pids+=($!)
for _ in $(seq 100); do
    [ "$(sinfo -h -o %T 2>/dev/null)" != idle ] || break; sleep 0.2
done
[ "$(sinfo -h -o %T)" = idle ] || fail "the node did not come up"
if command -v ss >/dev/null; then
    ! ss -ltn | awk -v a=":$port\$" -v b=":$((port + 1))\$" '$4 ~ a || $4 ~ b' | grep -v '127\.0\.0\.1' ||
        fail "a daemon listens beyond loopback"
fi

# ---- the runs ----
cd "$dir"
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_mpi_yield_when_idle=1
"$FLIPBOOK" generate payments -o raw.h5 --nodes 2000 --seed 3 >generate.out 2>&1 || fail "generate"
"$FLIPBOOK" partition raw.h5 -o graph.h5 --parts 4 >partition.out 2>&1 || fail "partition"
epochs=${SLURM_TEST_EPOCHS:-150}
options=(--model gcn --hidden 32 --epochs "$epochs" --patience "$epochs" --seed 1)

# loss REPORT: the loss of the closing record, in full precision.
loss() { sed -nE 's/^\{"record": ?"summary", ?"loss": ?([^,}]*).*/\1/p' "$1" | tail -n 1; }
# wait_job JOB: until Slurm has forgotten it or says it is over.
wait_job() {
    for _ in $(seq 600); do
        [ -n "$(squeue -h -j "$1" 2>/dev/null)" ] || return 0
        sleep 0.2
    done
    fail "job $1 did not end"
}

mpirun --oversubscribe --bind-to none -n 2 "$FLIPBOOK" train graph.h5 "${options[@]}" --threads 1 \
    --checkpoint plain.ckpt --report plain.jsonl >plain.out 2>&1 || fail "the plain run ended with $?"
expected=$(loss plain.jsonl)
[ -n "$expected" ] || fail "the plain run's report has no loss"
echo "plain mpirun: loss $expected"

for way in srun mpirun; do
    script=$root/experiments/slurm/train-$way.sbatch
    job=$(sbatch --parsable -n 2 -t 5 -o "$way.out" "$script" graph.h5 "$way.ckpt" "${options[@]}" --report "$way.jsonl")
    wait_job "$job"
    grep -q 'flipbook ended with 0' "$way.out" || fail "$way: training did not end with 0"
    [ "$(loss "$way.jsonl")" = "$expected" ] || fail "$way: loss $(loss "$way.jsonl"), expected $expected"
    echo "$way under Slurm: the same loss"

    # The same again, stopped part way.
    job=$(sbatch --parsable -n 2 -t 5 -o "$way-stop.out" "$script" graph.h5 "$way-stop.ckpt" "${options[@]}" --report "$way-stop.jsonl")
    for _ in $(seq 600); do
        count=$(grep -c '"record": *"epoch"' "$way-stop.jsonl" 2>/dev/null || true)
        [ "${count:-0}" -lt 5 ] || break
        sleep 0.05
    done
    if [ $way = srun ]; then scancel --signal=USR1 "$job"; else scancel --batch --signal=USR1 "$job"; fi
    wait_job "$job"
    grep -q 'flipbook ended with 85' "$way-stop.out" || fail "$way: USR1 did not end training with 85"
    grep -q 'start 1: ' "$way-stop.out" || fail "$way: the job did not queue itself again"
    grep -q 'flipbook ended with 0' "$way-stop.out" || fail "$way: the resumed run did not end with 0"
    [ "$(loss "$way-stop.jsonl")" = "$expected" ] || fail "$way: resumed loss $(loss "$way-stop.jsonl"), expected $expected"
    # Bit for bit; the settings text, which names the files of each run, stands outside these groups.
    for group in /parameters /optimiser; do
        h5diff plain.ckpt "$way-stop.ckpt" $group $group ||
            fail "$way: $group of the resumed run's checkpoint differs from the plain run's"
    done
    echo "$way under Slurm: stopped with 85, queued again, resumed, the same bits"
done
