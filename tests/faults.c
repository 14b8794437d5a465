#include "faults.h"

#include "train/batch.h"

#include <signal.h>
#include <stdlib.h>
#include <time.h>

faults faults_now = {.fetch_rank = -1, .step_rank = -1};
atomic_int faults_fetches, faults_steps, faults_lead;

flip_status __real_flip_batch_rows_fetch(flip_batching *b, flip_batch_slot *slot,
                                         const flip_data *data);
flip_status __wrap_flip_batch_rows_fetch(flip_batching *b, flip_batch_slot *slot,
                                         const flip_data *data);
flip_status __real_flip_optimiser_step(flip_optimiser *optimiser);
flip_status __wrap_flip_optimiser_step(flip_optimiser *optimiser);

void faults_set(faults wanted) {
    faults_now = wanted;
    faults_fetches = faults_steps = faults_lead = 0;
}

__attribute__((constructor)) static void from_environment(void) {
    faults f = FAULTS_NONE;
    const char *text = getenv("FLIP_FAULTS");
    if (text && sscanf(text, "%d %d %d %d %d %d %d", &f.fetch_rank, &f.step_rank, &f.fetch_ms,
                       &f.step_ms, &f.fetch_fails, &f.step_fails, &f.signal_at) == 7)
        faults_now = f;
}

static void delay(int ms) {
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000l}, NULL);
}

static bool here(int wanted) {
    int rank = 0;
    if (wanted >= 0) MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    return wanted < 0 || wanted == rank;
}

flip_status __wrap_flip_batch_rows_fetch(flip_batching *b, flip_batch_slot *slot,
                                         const flip_data *data) {
    int call = ++faults_fetches;
    if (!here(faults_now.fetch_rank)) return __real_flip_batch_rows_fetch(b, slot, data);
    flip_meter_begin(b->meter, FLIP_STAGE_FETCH);
    delay(faults_now.fetch_ms);
    flip_meter_end(b->meter);
    if (call == faults_now.fetch_fails)
        return FLIP_FAIL(FLIP_ERROR_MEMORY, "planted: fetch %d fails", call);
    return __real_flip_batch_rows_fetch(b, slot, data);
}

flip_status __wrap_flip_optimiser_step(flip_optimiser *optimiser) {
    int done = faults_steps, call = done + 1;
    if (here(faults_now.step_rank)) {
        for (int ms = 0; done == 0 && faults_fetches < faults_now.full && ms < 10000; ms++)
            delay(1);
        delay(faults_now.step_ms);
        if (call == faults_now.signal_at) raise(SIGUSR1);
        if (call == faults_now.step_fails)
            return FLIP_FAIL(FLIP_ERROR_MEMORY, "planted: step %d fails", call);
    }
    int lead = faults_fetches - done;
    if (lead > faults_lead) faults_lead = lead;
    faults_steps = call;
    return __real_flip_optimiser_step(optimiser);
}
