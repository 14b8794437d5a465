/* Batches in order, made by the trainer when it wants one or by a thread ahead of it.
 *
 *     thread ahead   wait for a free slot ─▶ seeds, draw, rows ─▶ made++ ──come──▶
 *     trainer        ◀──gone── used++ ◀─ forward, backward, step ◀─ wait for batch `used`
 *
 * The thread ahead alone uses the communicators of the sampler and of the rows, in the order of the
 * batches, and the trainer alone all others: each communicator sees one fixed order of exchanges on
 * every rank, whoever is ahead or behind. Neither holds the lock while it works or exchanges, so a
 * full queue or a slow rank only makes others wait who need what it has.
 *
 * The end. A trainer that fails gives no slot back any more; the thread ahead fills those that are
 * free and leaves. Trainers that fail at the same batch have threads that leave after the same
 * one, so none of these waits for another; and where one trainer fails alone, the others' threads
 * come as far as that, because their trainers wait at most at this batch. A thread ahead that fails
 * leaves at once, and the trainer hears of it when it has used the batches made before. */
#include "train/batch.h"

#include <omp.h>
#include <sched.h>
#include <signal.h>
#include <time.h>

/* Seconds a failed trainer waits for its thread: longer than a program needs to say why another
 * rank failed, and to end all of them. */
enum { GRACE = 5 };

/* ---- life ---- */

/* Cores that are this rank's and no thread of the trainer's, at most as many as it has threads. */
static int spare_threads(const flip_data *data) {
    cpu_set_t mask;
    int all = sched_getaffinity(0, sizeof mask, &mask) == 0 ? CPU_COUNT(&mask) : 1;
    int mine = omp_get_max_threads();
    int spare = all / flip_comm_node_size(data->comm) - mine;
    return spare < 1 ? 1 : spare < mine ? spare : mine;
}

flip_status flip_pipeline_create(flip_batching *b, const flip_data *data) {
    flip_pipeline *p = &b->pipe;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->come, NULL);
    pthread_cond_init(&p->gone, NULL);
    p->threads = spare_threads(data);
    size_t n = (size_t)data->s.prefetch + 1;
    FLIP_TRY(flip_alloc_zero(&p->slot, n, sizeof *p->slot, "slots of batches"));
    p->n_slots = (int32_t)n;
    for (int32_t i = 0; i < p->n_slots; i++)
        FLIP_TRY(flip_batch_create(&p->slot[i].batch));
    return FLIP_OK;
}

void flip_pipeline_finish(flip_batching *b) {
    flip_pipeline *p = &b->pipe;
    for (int32_t i = 0; i < p->n_slots; i++) {
        flip_batch_slot *slot = &p->slot[i];
        flip_batch_destroy(&slot->batch);
        flip_batch_rows_finish(&slot->rows, b->placed);
        flip_batch_seeds_finish(slot);
        flip_pairs_destroy(&slot->pairs);
    }
    flip_free(p->slot);
    pthread_mutex_destroy(&p->lock);
    pthread_cond_destroy(&p->come);
    pthread_cond_destroy(&p->gone);
}

static flip_batch_slot *slot_of(flip_pipeline *p, int64_t k) {
    return &p->slot[k % p->n_slots];
}

static flip_status make(flip_batching *b, int64_t k) {
    flip_pipeline *p = &b->pipe;
    FLIP_TRY(flip_batch_draw(b, slot_of(p, k), p->data, p->epoch, k));
    return flip_batch_rows_fetch(b, slot_of(p, k), p->data);
}

/* ---- the thread ahead ---- */

/* Is there a slot for batch k? */
static bool wait_for_slot(flip_pipeline *p, int64_t k) {
    flip_meter_begin(&p->meter, FLIP_STAGE_WAIT);
    pthread_mutex_lock(&p->lock);
    while (k >= p->used + p->n_slots && !p->closed)
        pthread_cond_wait(&p->gone, &p->lock);
    bool free = k < p->used + p->n_slots;
    pthread_mutex_unlock(&p->lock);
    flip_meter_end(&p->meter);
    return free;
}

static void *run_ahead(void *batching) {
    flip_batching *b = batching;
    flip_pipeline *p = &b->pipe;
    flip_status status = FLIP_OK;
    omp_set_num_threads(p->threads);
    for (int64_t k = 0; k < b->order.n_batches && status == FLIP_OK; k++) {
        if (!wait_for_slot(p, k)) break;
        status = make(b, k);
        pthread_mutex_lock(&p->lock);
        p->status = status;
        p->made += status == FLIP_OK;
        pthread_cond_signal(&p->come);
        pthread_mutex_unlock(&p->lock);
    }
    return NULL;
}

/* Signals are the trainer's. */
static flip_status start_thread(flip_batching *b) {
    flip_pipeline *p = &b->pipe;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&p->thread, NULL, run_ahead, b);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    p->running = error == 0;
    if (error == 0) return FLIP_OK;
    return FLIP_FAIL(FLIP_ERROR_LIBRARY,
                     "cannot start the thread that fetches batches (error %d); use --prefetch 0",
                     error);
}

/* Whoever makes batches counts them. NULL: the trainer. */
static void count_in(flip_batching *b, flip_meter *meter) {
    flip_comm_count_in(b->comm, meter);
    flip_sampler_meter(b->sampler, meter);
    if (b->store) flip_store_meter(b->store, meter);
    if (b->fine) flip_store_meter(b->fine, meter);
    b->meter = meter ? meter : flip_comm_meter(b->pipe.data->comm);
}

flip_status flip_pipeline_begin(flip_batching *b, const flip_data *data, int64_t epoch) {
    flip_pipeline *p = &b->pipe;
    p->data = data;
    p->epoch = epoch;
    p->made = p->used = 0;
    p->closed = false;
    p->status = FLIP_OK;
    if (p->n_slots == 1) return FLIP_OK;
    count_in(b, &p->meter);
    flip_status status = start_thread(b);
    if (status != FLIP_OK) count_in(b, NULL);
    return status;
}

/* Bytes are counted where those of all other messages are. */
static void move_bytes(flip_meter *to, flip_meter *from) {
    for (int i = 0; i < FLIP_BYTES_COUNT; i++) {
        to->bytes[i] += from->bytes[i];
        from->bytes[i] = 0;
    }
}

flip_status flip_pipeline_end(flip_batching *b, flip_status status) {
    flip_pipeline *p = &b->pipe;
    struct timespec until;
    if (!p->running) return status;
    pthread_mutex_lock(&p->lock);
    p->closed = true;
    pthread_cond_signal(&p->gone);
    pthread_mutex_unlock(&p->lock);
    p->running = false;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += GRACE;
    if (status == FLIP_OK)
        pthread_join(p->thread, NULL);
    else if (pthread_timedjoin_np(p->thread, NULL, &until) != 0) {
        p->lost = true; /* a second rank failed meanwhile: this run is over, and says why */
        pthread_detach(p->thread);
        return status;
    }
    count_in(b, NULL);
    move_bytes(b->meter, &p->meter);
    return status;
}

flip_meter flip_batching_ahead(const flip_batching *b) {
    return b ? b->pipe.meter : (flip_meter){0};
}

/* ---- the trainer ---- */

flip_status flip_pipeline_next(flip_batching *b, flip_batch_slot **slot) {
    flip_pipeline *p = &b->pipe;
    *slot = slot_of(p, p->used);
    if (!p->running) return make(b, p->used);
    flip_meter *meter = flip_comm_meter(p->data->comm);
    flip_meter_begin(meter, FLIP_STAGE_WAIT);
    pthread_mutex_lock(&p->lock);
    while (p->made == p->used && p->status == FLIP_OK)
        pthread_cond_wait(&p->come, &p->lock);
    flip_status status = p->made == p->used ? p->status : FLIP_OK;
    pthread_mutex_unlock(&p->lock);
    flip_meter_end(meter);
    return status;
}

void flip_pipeline_done(flip_batching *b) {
    flip_pipeline *p = &b->pipe;
    pthread_mutex_lock(&p->lock);
    p->used++;
    pthread_cond_signal(&p->gone);
    pthread_mutex_unlock(&p->lock);
}
