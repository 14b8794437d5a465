/* A trained model measured on a graph. */
#include "train/internal.h"

#include <math.h>
#include <string.h>

/* The trainer of a checkpoint, with its best parameters in place. */
flip_status flip_trainer_load(flip_trainer *trainer, flip_comm *comm, const flip_settings *settings,
                              const flip_io *io) {
    FLIP_TRY(flip_data_open(&trainer->data, comm, settings));
    FLIP_TRY(flip_data_adjacency(&trainer->data));
    FLIP_TRY(flip_trainer_build(trainer));
    return flip_checkpoint_read(trainer, settings->checkpoint, io, false);
}

flip_status flip_evaluate(flip_result *result, flip_comm *comm, const flip_settings *settings,
                          const flip_io *io) {
    flip_trainer trainer = {0};
    double *score[FLIP_PARTS] = {&result->train, &result->valid, &result->test}, loss;
    flip_data *data = &trainer.data;
    flip_status status;
    flip_var y;
    FLIP_TRY_GOTO(flip_trainer_load(&trainer, comm, settings, io));
    if (data->s.task == FLIP_TASK_LINK)
        FLIP_TRY_GOTO(flip_links_sample(&data->links, &data->set[FLIP_PART_TRAIN], comm,
                                        data->rank_first, FLIP_PART_TRAIN, data->s.negatives,
                                        (uint64_t)data->s.seed, FLIP_DRAW_EVALUATE, data->lead));
    FLIP_TRY_GOTO(flip_trainer_forward(&trainer, &y));
    for (int p = 0; p < FLIP_PARTS; p++)
        FLIP_TRY_GOTO(flip_measure_part(&trainer, y, (flip_part)p, score[p], &loss));
    result->epochs = trainer.epoch;
    result->best_epoch = trainer.best_epoch;
    result->loss = NAN;
    strcpy(result->metric, data->s.metric);
done:
    flip_trainer_close(&trainer);
    return status;
}
