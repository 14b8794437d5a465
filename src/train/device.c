/* Where a run computes: this CPU or a GPU, and what of the host's arrays the GPU keeps. */
#include "train/internal.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Which GPU of those that this process sees: Slurm shows a rank its own, or all of the node's. A
 * GPU serves one rank unless the settings share it. */
static flip_status open_device(const flip_data *data, const flip_kernels **kernels) {
    const int seen = flip_kernels_cuda_devices(), rank = flip_comm_node_rank(data->comm);
    const int ranks = flip_comm_node_size(data->comm);
    const bool shared = data->s.device == FLIP_DEVICE_CUDA_SHARED;
    if (seen > 1 && seen < ranks && !shared)
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "%d ranks on this node see %d GPUs; use a rank a GPU, or --device "
                         "cuda-shared",
                         ranks, seen);
    return flip_kernels_cuda(kernels, seen > 0 ? rank % seen : 0);
}

/* Do two ranks of a node compute on one GPU? Told by its address, since each may see another
 * numbering. */
static flip_status check_sharing(const flip_data *data, const flip_kernels *kernels) {
    enum { SIZE = 64 + sizeof kernels->device };
    const int ranks = flip_comm_size(data->comm), mine = flip_comm_rank(data->comm);
    char *all, me[SIZE] = "";
    gethostname(me, 63);
    memcpy(me + 64, kernels->device, sizeof kernels->device);
    FLIP_TRY(
        flip_comm_agree(data->comm, flip_alloc(&all, (size_t)ranks, SIZE, "devices of ranks")));
    flip_status status = flip_comm_gather_all(data->comm, all, me, SIZE);
    for (int r = 0; r < mine && status == FLIP_OK; r++)
        if (memcmp(all + (size_t)r * SIZE, me, SIZE) == 0)
            status = FLIP_FAIL(FLIP_ERROR_USAGE,
                               "ranks %d and %d would share one GPU (%s); use a rank a GPU, or "
                               "--device cuda-shared",
                               r, mine, kernels->device);
    flip_free(all);
    return status;
}

static flip_status choose_gpu(const flip_data *data, const flip_kernels **kernels) {
    FLIP_TRY(flip_comm_agree(data->comm, open_device(data, kernels)));
    if (data->s.device == FLIP_DEVICE_CUDA_SHARED) return FLIP_OK;
    return flip_comm_agree(data->comm, check_sharing(data, *kernels));
}

/* A GPU where every rank has one to itself and the settings can be had there; else the CPU, and a
 * note says why where there is a GPU. */
static flip_status choose_best(flip_data *data, const flip_kernels **kernels) {
    const char *packed = data->packed.packing ? flip_data_packed_off_device(data) : NULL;
    int64_t without = flip_kernels_cuda_devices() == 0;
    FLIP_TRY(flip_comm_max_i64(data->comm, &without, 1));
    if (without) return FLIP_OK;
    if (packed) {
        flip_data_note(data, "the CPU computes: features are packed; %s", packed);
        return FLIP_OK;
    }
    if (choose_gpu(data, kernels) == FLIP_OK) return FLIP_OK;
    flip_data_note(data, "the CPU computes: %s", flip_error_message());
    flip_error_clear();
    *kernels = flip_kernels_get();
    return FLIP_OK;
}

flip_status flip_device_choose(flip_data *data, const flip_kernels **kernels) {
    *kernels = flip_kernels_get();
    if (data->s.device == FLIP_DEVICE_CPU) return FLIP_OK;
    return data->s.device == FLIP_DEVICE_AUTO ? choose_best(data, kernels)
                                              : choose_gpu(data, kernels);
}

/* ---- between GPUs ---- */

/* What NCCL, or MPI with the GPUs' memory, cannot do for these settings; NULL: nothing is in its
 * way. */
static const char *against(const flip_trainer *trainer, flip_direct by) {
    const flip_settings *s = &trainer->data.s;
    if (!trainer->kernels->on_device) return "the CPU computes; use --device cuda";
    if (by == FLIP_DIRECT_NCCL && s->device == FLIP_DEVICE_CUDA_SHARED)
        return "with --device cuda-shared ranks may share one";
    if (s->wire_codec == FLIP_WIRE_ADAPTIVE) return "--wire-codec adaptive is the CPU's work";
    return NULL;
}

/* The ranks as a whole, of a part, and of the same steps: where these are all, one NCCL serves. */
static flip_status attach(flip_trainer *trainer, flip_direct by) {
    flip_comm *world = trainer->data.comm;
    const flip_kernels *kernels = trainer->kernels;
    FLIP_TRY(flip_comm_attach(trainer->data.layout->space, by, kernels, world));
    return flip_comm_attach(trainer->data.layout->time, by, kernels, world);
}

/* What was asked for, or nothing. */
static flip_status connect_as_asked(flip_trainer *trainer, flip_direct by) {
    const char *what = by == FLIP_DIRECT_NCCL ? "nccl moves rows between GPUs, one a rank"
                                              : "mpi-cuda moves rows between GPUs";
    const char *why = against(trainer, by);
    if (why) return FLIP_FAIL(FLIP_ERROR_USAGE, "--device-exchange %s: %s", what, why);
    FLIP_TRY(flip_comm_attach(trainer->data.comm, by, trainer->kernels, NULL));
    return attach(trainer, by);
}

/* The first way that is to be had; a note tells what NCCL lacks, which is the fastest. */
static flip_status connect_best(flip_trainer *trainer) {
    flip_comm *world = trainer->data.comm;
    char lack[512] = "";
    if (!trainer->kernels->on_device || flip_comm_size(world) == 1) return FLIP_OK;
    for (flip_direct by = FLIP_DIRECT_NCCL; by <= FLIP_DIRECT_MPI && !flip_comm_direct(world);
         by++) {
        const char *why = against(trainer, by);
        if (!why && flip_comm_attach(world, by, trainer->kernels, NULL) == FLIP_OK) continue;
        if (!lack[0]) snprintf(lack, sizeof lack, "%s", why ? why : flip_error_message());
        flip_error_clear();
    }
    const flip_direct by = flip_comm_direct(world);
    if (by != FLIP_DIRECT_NCCL)
        flip_data_note(&trainer->data, "rows between GPUs go through %s: %s",
                       by ? "a CUDA-aware MPI" : "MPI", lack);
    return attach(trainer, by);
}

flip_status flip_device_connect(flip_trainer *trainer) {
    switch (trainer->data.s.device_exchange) {
    case FLIP_DEVICE_EXCHANGE_NCCL:
        return connect_as_asked(trainer, FLIP_DIRECT_NCCL);
    case FLIP_DEVICE_EXCHANGE_MPI_CUDA:
        return connect_as_asked(trainer, FLIP_DIRECT_MPI);
    case FLIP_DEVICE_EXCHANGE_AUTO:
        return connect_best(trainer);
    default:
        return FLIP_OK;
    }
}

const char *flip_device_exchange(const flip_trainer *trainer) {
    static const char *const names[] = {
        [FLIP_DIRECT_NONE] = "mpi", [FLIP_DIRECT_NCCL] = "nccl", [FLIP_DIRECT_MPI] = "mpi-cuda"};
    const flip_comm *world = trainer->data.comm;
    return flip_comm_size(world) == 1 ? "none" : names[flip_comm_direct(world)];
}

/* ---- what stays on the GPU ---- */

static flip_status hold_block_labels(flip_trainer *trainer, int32_t block) {
    const flip_data *data = &trainer->data;
    flip_tape *tape = trainer->tape;
    const int64_t row = flip_data_block_row(data, block);
    const size_t n = (size_t)(flip_data_block_row(data, block + 1) - row);
    if (data->s.task == FLIP_TASK_NODE) {
        FLIP_TRY(flip_tape_hold(tape, data->label + row, n * sizeof *data->label));
        return flip_tape_hold(tape, data->mask[FLIP_PART_TRAIN] + row, n);
    }
    if (data->s.task != FLIP_TASK_REGRESSION) return FLIP_OK;
    const size_t dim = (size_t)data->n_classes;
    FLIP_TRY(
        flip_tape_hold(tape, data->target + row * data->n_classes, n * dim * sizeof *data->target));
    return flip_tape_hold(tape, data->mask[FLIP_PART_TRAIN] + row, n);
}

/* Snapshots that travel become matrices on the GPU where it can make them. Collective. */
static flip_status use_snapshots(flip_trainer *trainer) {
    const flip_data *data = &trainer->data;
    if (!data->snapshots || data->s.transfer == FLIP_TRANSFER_RESIDENT) return FLIP_OK;
    return flip_comm_agree(data->comm, flip_snapshots_use(data->snapshots, trainer->kernels,
                                                          &trainer->matrices_by_cpu));
}

flip_status flip_device_hold(flip_trainer *trainer) {
    const flip_data *data = &trainer->data;
    const flip_layout *layout = data->layout;
    if (!trainer->kernels->on_device) return FLIP_OK;
    if (trainer->batching) return flip_batching_place(trainer);
    FLIP_TRY(use_snapshots(trainer));
    FLIP_TRY(flip_tape_hold(trainer->tape, layout->original,
                            (size_t)layout->n_rows * sizeof *layout->original));
    for (int32_t k = 0; k < data->train_blocks; k++)
        FLIP_TRY(hold_block_labels(trainer, k));
    if (data->s.task != FLIP_TASK_NODE) return FLIP_OK;
    return flip_tape_hold(trainer->tape, data->class_weight,
                          (size_t)data->n_classes * sizeof *data->class_weight);
}

void flip_device_leave(flip_trainer *trainer) {
    if (!trainer->on_device || !trainer->data.snapshots) return;
    flip_tape_let_block_go(trainer->tape);
    trainer->on_device = NULL;
}

/* The adjacency of a block is made perhaps in the memory of another, which leaves the device before
 * that. */
flip_status flip_device_enter(flip_trainer *trainer, int32_t block, bool backward,
                              const flip_adjacency **adjacency) {
    if (block != trainer->on_device_block) flip_device_leave(trainer);
    FLIP_TRY(flip_data_block(&trainer->data, block, adjacency));
    if (!trainer->kernels->on_device || trainer->on_device == *adjacency) return FLIP_OK;
    trainer->on_device = *adjacency;
    trainer->on_device_block = block;
    return flip_tape_hold_block(trainer->tape, *adjacency, backward, false);
}

flip_status flip_device_inputs(flip_trainer *trainer, int32_t block, const flip_real **x) {
    const flip_layout *layout = trainer->data.layout;
    FLIP_TRY(flip_data_inputs(&trainer->data, block, x));
    if (!*x || layout->n_blocks == 1) return FLIP_OK;
    const size_t rows = (size_t)layout->n_rows * (size_t)flip_layout_steps(layout, block);
    return flip_tape_hold_inputs(trainer->tape, *x,
                                 rows * (size_t)trainer->data.in_dim * sizeof **x);
}

/* To make a matrix the host may wait for all that the GPU was given: inputs are on their way before
 * that. */
flip_status flip_device_look_ahead(flip_trainer *trainer, int32_t block, bool backward) {
    const flip_adjacency *adjacency;
    const flip_real *x;
    if (!trainer->kernels->on_device || !trainer->data.snapshots ||
        (trainer->on_device && block == trainer->on_device_block))
        return FLIP_OK;
    flip_device_leave(trainer);
    FLIP_TRY(flip_tape_hold_block(trainer->tape, NULL, backward, true));
    if (!trainer->learned && !trainer->data.packed.packing)
        FLIP_TRY(flip_device_inputs(trainer, block, &x));
    FLIP_TRY(flip_tape_send_ahead(trainer->tape));
    FLIP_TRY(flip_data_block(&trainer->data, block, &adjacency));
    trainer->on_device = adjacency;
    trainer->on_device_block = block;
    FLIP_TRY(flip_tape_hold_block(trainer->tape, adjacency, backward, false));
    return flip_tape_send_ahead(trainer->tape);
}
