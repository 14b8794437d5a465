/* A trained model measured on a graph. */
#include "train/internal.h"

#include <math.h>

/* The trainer of a checkpoint, with its best parameters in place. */
flip_status flip_trainer_load(flip_trainer *trainer, flip_comm *comm, const flip_settings *settings,
                              const flip_io *io) {
    size_t base = flip_memory_now();
    FLIP_TRY(flip_data_open(&trainer->data, comm, settings));
    FLIP_TRY(flip_trainer_distribute(trainer, base));
    FLIP_TRY(flip_data_place(&trainer->data));
    FLIP_TRY(flip_device_connect(trainer));
    FLIP_TRY(flip_data_adjacency(&trainer->data));
    FLIP_TRY(flip_trainer_build(trainer));
    return flip_checkpoint_read(trainer, settings->checkpoint, io, false);
}

flip_status flip_evaluate(flip_result *result, flip_comm *comm, const flip_settings *settings,
                          const flip_io *io) {
    flip_trainer trainer = {0};
    flip_status status;
    FLIP_TRY_GOTO(flip_trainer_load(&trainer, comm, settings, io));
    *result = (flip_result){.epochs = trainer.epoch, .best_epoch = trainer.best_epoch, .loss = NAN};
    FLIP_TRY_GOTO(flip_measure_result(&trainer, result));
done:
    flip_trainer_close(&trainer);
    return status;
}
