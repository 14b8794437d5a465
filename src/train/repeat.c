/* Passes that come again: on a GPU the second full-batch pass of a run is recorded, and that and
 * all later ones are replayed, a call each, in the place of some hundred launches. Only where a
 * pass is the same as the last one but for dropout's draws and Adam's factors: one rank, one block
 * that stays on the device, labels or targets of nodes, nothing that the host reads or decides on
 * the way. Whatever else the host turns out to have a hand in spoils the recording, and the run
 * goes on without. The numbers are the same to the last bit; where the loss becomes no number,
 * which ends the run, the optimiser's step is taken already.
 *
 *     epoch   1 pass          takes memory, prepares the features
 *             2 record replay
 *             3        replay …       and so on, until memory of the device is given back:
 *             k pass                  what was recorded is dropped, the next pass recorded anew
 *
 * The host walks the tape in a recorded pass alone; counters go on by what it counted there. */
#include "train/internal.h"

#include <string.h>

/* Can the settings' pass be the same again? */
static bool comes_again(const flip_trainer *trainer) {
    const flip_data *data = &trainer->data;
    const flip_settings *s = &data->s;
    const bool stays = !data->snapshots || s->transfer == FLIP_TRANSFER_RESIDENT;
    const bool nodes = s->task == FLIP_TASK_NODE || s->task == FLIP_TASK_REGRESSION;
    return trainer->kernels->on_device && flip_comm_size(data->comm) == 1 && nodes &&
           data->layout->n_blocks == 1 && stays && !data->packed.packing && !trainer->learned &&
           !trainer->carry && s->clip == 0;
}

/* The pass is recorded and not done: the trainer's counters and steps are as they were. */
static void record(flip_trainer *trainer) {
    flip_repeat *r = &trainer->repeat;
    const flip_kernels *kernels = trainer->kernels;
    flip_meter *meter = flip_comm_meter(trainer->data.comm);
    const flip_meter before = *meter, nothing = {.depth = 0};
    const flip_passes passes = trainer->passes;
    const int64_t steps = flip_optimiser_steps(trainer->optimiser);
    double none = 0;
    flip_status status = flip_tape_late_loss(trainer->tape, true);
    if (status == FLIP_OK && kernels->record()) {
        status = flip_trainer_pass(trainer, &none);
        r->recording = kernels->record_end();
    }
    (void)flip_tape_late_loss(trainer->tape, false);
    if (status != FLIP_OK) { /* the pass is called again, and tells */
        kernels->drop_recording(&r->recording);
        flip_error_clear();
    }
    r->refused = !r->recording;
    r->epoch = trainer->epoch + 1;
    r->counted = nothing;
    flip_meter_add(&r->counted, meter, &before);
    memset(r->counted.seconds, 0, sizeof r->counted.seconds); /* stay the recording's */
    flip_meter_add(meter, &nothing, &r->counted);
    trainer->passes = passes;
    flip_optimiser_set_steps(trainer->optimiser, steps);
}

/* Dropout's draws of an epoch are behind the last one's: see tape_draw. */
static uint64_t draws_since(const flip_repeat *r, int64_t epoch) {
    return (uint64_t)(epoch - r->epoch) << FLIP_EPOCH_DRAWS;
}

flip_status flip_repeat_pass(flip_trainer *trainer, double *loss, bool *done) {
    flip_repeat *r = &trainer->repeat;
    flip_meter *meter = flip_comm_meter(trainer->data.comm);
    const flip_meter nothing = {.depth = 0};
    flip_adam_step adam;
    *done = false;
    if (r->refused || !comes_again(trainer)) return FLIP_OK;
    if (!r->begun) {
        r->begun = true;
        return FLIP_OK;
    }
    FLIP_TRY(flip_optimiser_next(trainer->optimiser, &adam));
    if (!r->recording) record(trainer);
    if (!r->recording) return FLIP_OK;
    *done = trainer->kernels->replay(r->recording, draws_since(r, trainer->epoch + 1), &adam);
    if (!*done) {
        trainer->kernels->drop_recording(&r->recording);
        return FLIP_OK;
    }
    flip_meter_add(meter, &r->counted, &nothing);
    trainer->passes.forward++;
    trainer->passes.backward++;
    flip_optimiser_set_steps(trainer->optimiser, flip_optimiser_steps(trainer->optimiser) + 1);
    flip_meter_begin(meter, FLIP_STAGE_LOSS);
    flip_status status = flip_tape_read_loss(trainer->tape, loss);
    flip_meter_end(meter);
    FLIP_TRY(status);
    return flip_trainer_check_loss(trainer, *loss);
}

void flip_repeat_finish(flip_trainer *trainer) {
    if (trainer->kernels) trainer->kernels->drop_recording(&trainer->repeat.recording);
}
