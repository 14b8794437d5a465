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
    double score[FLIP_PARTS], loss[FLIP_PARTS];
    flip_data *data = &trainer.data;
    flip_status status;
    FLIP_TRY_GOTO(flip_trainer_load(&trainer, comm, settings, io));
    if (data->s.task == FLIP_TASK_LINK)
        FLIP_TRY_GOTO(flip_data_sample(data, FLIP_PART_TRAIN, FLIP_DRAW_EVALUATE));
    FLIP_TRY_GOTO(flip_measure(&trainer, FLIP_SCORE_ALL, score, loss));
    *result = (flip_result){.epochs = trainer.epoch,
                            .best_epoch = trainer.best_epoch,
                            .loss = NAN,
                            .train = score[FLIP_PART_TRAIN],
                            .valid = score[FLIP_PART_VALID],
                            .test = score[FLIP_PART_TEST]};
    strcpy(result->metric, data->s.metric);
done:
    flip_trainer_close(&trainer);
    return status;
}
