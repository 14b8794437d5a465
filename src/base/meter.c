/* Bytes by kind, seconds by stage. A stage's seconds are its own: an inner stage pauses the outer
 * one. */
#include <flipbook/base.h>

#include <time.h>

static const char *const bytes_names[] = {
    [FLIP_BYTES_HALO] = "halo",
    [FLIP_BYTES_REDISTRIBUTE] = "redistribute",
    [FLIP_BYTES_STATE] = "state",
    [FLIP_BYTES_WINDOW] = "window",
    [FLIP_BYTES_ALLREDUCE] = "allreduce",
    [FLIP_BYTES_GRAPH_TO_DEVICE] = "graph_to_device",
    [FLIP_BYTES_FEATURES_TO_DEVICE] = "features_to_device",
    [FLIP_BYTES_REMOTE_FEATURES] = "remote_features",
    [FLIP_BYTES_CHECKPOINT] = "checkpoint",
};
_Static_assert(sizeof bytes_names / sizeof *bytes_names == FLIP_BYTES_COUNT, "a name a kind");

static const char *const stage_names[] = {
    [FLIP_STAGE_LOAD] = "load",           [FLIP_STAGE_PARTITION] = "partition",
    [FLIP_STAGE_ADJACENCY] = "adjacency", [FLIP_STAGE_AGGREGATE] = "aggregate",
    [FLIP_STAGE_DENSE] = "dense",         [FLIP_STAGE_RECURRENT] = "recurrent",
    [FLIP_STAGE_POINTWISE] = "pointwise", [FLIP_STAGE_EXCHANGE] = "exchange",
    [FLIP_STAGE_SAMPLE] = "sample",       [FLIP_STAGE_FETCH] = "fetch",
    [FLIP_STAGE_WAIT] = "wait",           [FLIP_STAGE_LOSS] = "loss",
    [FLIP_STAGE_ALLREDUCE] = "allreduce", [FLIP_STAGE_OPTIMISER] = "optimiser",
    [FLIP_STAGE_EVALUATE] = "evaluate",   [FLIP_STAGE_CHECKPOINT] = "checkpoint",
};
_Static_assert(sizeof stage_names / sizeof *stage_names == FLIP_STAGE_COUNT, "a name a stage");

enum { STACK_DEPTH = sizeof((flip_meter *)0)->stack / sizeof(int32_t) };

const char *flip_bytes_name(flip_bytes kind) {
    return bytes_names[kind];
}

const char *flip_stage_name(flip_stage stage) {
    return stage_names[stage];
}

double flip_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Charge the time since the last change to the stage that was on top. */
static void charge(flip_meter *meter) {
    double now = flip_seconds();
    if (meter->depth > 0 && meter->depth <= STACK_DEPTH)
        meter->seconds[meter->stack[meter->depth - 1]] += now - meter->since;
    meter->since = now;
}

void flip_meter_begin(flip_meter *meter, flip_stage stage) {
    if (!meter) return;
    charge(meter);
    if (meter->depth < STACK_DEPTH) meter->stack[meter->depth] = (int32_t)stage;
    meter->depth++;
}

void flip_meter_end(flip_meter *meter) {
    if (!meter) return;
    charge(meter);
    meter->depth--;
}

void flip_meter_add(flip_meter *sum, const flip_meter *now, const flip_meter *before) {
    for (int i = 0; i < FLIP_BYTES_COUNT; i++)
        sum->bytes[i] += now->bytes[i] - before->bytes[i];
    for (int i = 0; i < FLIP_STAGE_COUNT; i++) {
        sum->seconds[i] += now->seconds[i] - before->seconds[i];
        sum->traffic[i] += now->traffic[i] - before->traffic[i];
        sum->flops[i] += now->flops[i] - before->flops[i];
    }
}
