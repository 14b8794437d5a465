/* The training loop: epochs, validation, early stopping, checkpoints, stopping by signal. */
#include "train/internal.h"
#include "train/link_json.h"

#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* ---- stopping by request ---- */

static volatile sig_atomic_t asked_to_stop;

static void on_signal(int signal) {
    (void)signal;
    asked_to_stop = 1;
}

static void watch_signals(void) {
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    sigaction(SIGUSR1, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    action.sa_flags |= SA_RESETHAND; /* Ctrl-C once: as above; twice: the end at once */
    sigaction(SIGINT, &action, NULL);
}

/* ---- counting: training and evaluation apart ---- */

static double cpu_seconds(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           1e-6 * (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

/* ---- a terminal? ---- */

/* mpirun gives its ranks a pseudo-terminal even when its own output is a file: look at the
 * launcher's output then. */
static bool is_terminal(FILE *out) {
    char link[64], target[64];
    if (!out || !isatty(fileno(out))) return false;
    if (!getenv("OMPI_COMM_WORLD_SIZE")) return true;
    snprintf(link, sizeof link, "/proc/%d/fd/1", (int)getppid());
    ssize_t n = readlink(link, target, sizeof target - 1);
    target[n > 0 ? n : 0] = 0;
    return strncmp(target, "/dev/pts/", 9) == 0 || strncmp(target, "/dev/tty", 8) == 0;
}

/* ---- a run ---- */

typedef struct run {
    flip_trainer trainer;
    flip_tally tally;
    flip_report *report; /* rank 0 */
    const flip_io *io;
    FILE *out; /* rank 0, or NULL */
    const char *checkpoint;
    flip_live live; /* --protocol live */
    double started, epochs_started;
    bool terminal; /* out is one */
} run;

static void say_estimate(const run *r, const flip_estimate *e) {
    const double mib = 1.0 / (1 << 20);
    const flip_settings *s = &r->trainer.data.s;
    if (!r->out) return;
    fprintf(
        r->out,
        "memory   largest rank: libraries %.0f MiB, graph and features %.0f, adjacency %.0f, "
        "training %.0f%s\n         together on this node (%d rank%s): %.0f MiB of %.0f MiB%s: %s\n",
        (double)e->base * mib, (double)(e->held + e->placed) * mib, (double)e->adjacency * mib,
        (double)e->training * mib, e->device_available > 0 ? " on the GPU" : "", e->ranks_here,
        e->ranks_here == 1 ? "" : "s", (double)e->together * mib, (double)e->available * mib,
        s->memory != FLIP_UNSET ? " (--memory)" : " (80 % of this machine)",
        e->together <= e->available ? "fits" : "does NOT fit");
    if (e->device_available > 0)
        fprintf(r->out,
                "         on a GPU (%d rank%s): %.0f MiB of %.0f MiB (90 %% of what is free): %s\n",
                e->ranks_of_device, e->ranks_of_device == 1 ? "" : "s",
                (double)e->device_together * mib, (double)e->device_available * mib,
                e->device_together <= e->device_available ? "fits" : "does NOT fit");
}

static flip_status refuse_memory(const run *r, const flip_estimate *e) {
    bool told = r->trainer.data.s.memory != FLIP_UNSET;
    if (flip_estimate_fits(e, told ? 1 : 1.25)) return FLIP_OK;
    if (e->device_together > e->device_available && e->device_available > 0)
        return FLIP_FAIL(FLIP_ERROR_MEMORY,
                         "training needs about %.0f MiB of a GPU, allowed are %.0f MiB; use more "
                         "GPUs, a smaller --hidden, or --device cpu",
                         (double)e->device_together / (1 << 20),
                         (double)e->device_available / (1 << 20));
    return FLIP_FAIL(FLIP_ERROR_MEMORY,
                     "training needs about %.0f MiB on this node, allowed are %.0f MiB; use more "
                     "nodes, a smaller --hidden%s",
                     (double)e->together / (1 << 20), (double)e->available / (1 << 20),
                     told ? ", or a larger --memory" : "");
}

static const char *const task_names[] = {"", "node classification", "edge classification",
                                         "link prediction", "regression"};
static const char *const item_names[] = {"", "nodes", "events", "pairs", "targets"};

static void say_data(const run *r) {
    const flip_data *data = &r->trainer.data;
    const flip_graph_info *info = data->info;
    if (!r->out) return;
    fprintf(r->out, "graph    '%s': %lld nodes, %lld events, %d step%s, %d rank%s\n", data->s.graph,
            (long long)info->n_nodes, (long long)info->n_events, data->steps,
            data->steps == 1 ? "" : "s", flip_comm_size(data->comm),
            flip_comm_size(data->comm) == 1 ? "" : "s");
    fprintf(r->out, "task     %s, ", task_names[data->s.task]);
    if (data->s.task == FLIP_TASK_NODE || data->s.task == FLIP_TASK_EDGE)
        fprintf(r->out, "%d classes, ", data->n_classes);
    fprintf(r->out, "%lld / %lld / %lld %s train / valid / test; %d inputs a node\n",
            (long long)data->n_items[0], (long long)data->n_items[1], (long long)data->n_items[2],
            item_names[data->s.task], data->in_dim);
    if (data->s.task == FLIP_TASK_LINK) {
        char text[256];
        flip_link_candidates(data, text, sizeof text);
        fprintf(r->out, "         ranked by %s: %s; train: %lld sampled\n", data->s.metric, text,
                (long long)data->s.negatives);
    }
    for (const char *note = data->notes; *note; note += strcspn(note, "\n") + 1)
        fprintf(r->out, "note     %.*s\n", (int)strcspn(note, "\n"), note);
}

static void say_model(const run *r) {
    flip_params *params = r->trainer.params;
    if (!r->out) return;
    fprintf(r->out, "model    %lld parameters in %d arrays, %s, %s kernels\n",
            (long long)flip_params_trainable(params), flip_params_count(params), FLIP_REAL_NAME,
            r->trainer.kernels->name);
    if (r->trainer.kernels->on_device)
        fprintf(r->out, "device   %s, %.0f MiB free\n", r->trainer.kernels->device,
                (double)r->trainer.kernels->available() / (1 << 20));
    if (r->trainer.matrices_by_cpu)
        fprintf(r->out,
                "matrix   of a block: made by the CPU and sent to the GPU whole, since %s; "
                "graph_to_device counts what --transfer sends before that\n",
                r->trainer.matrices_by_cpu);
    if (r->trainer.kernels->on_device && flip_comm_size(r->trainer.data.comm) > 1)
        fprintf(r->out, "exchange %s: rows go %s\n", flip_device_exchange(&r->trainer),
                flip_comm_direct(r->trainer.data.comm) == FLIP_DIRECT_NCCL ? "from GPU to GPU"
                : flip_comm_direct(r->trainer.data.comm) ? "from GPU to GPU by a CUDA-aware MPI"
                                                         : "through pinned memory of the hosts");
    fprintf(r->out, "\n(* = best validation so far)\n");
    fflush(r->out);
}

/* On a terminal, a bar under the lines: what is done and about how long the rest takes. */
static void say_progress(const run *r) {
    enum { WIDTH = 40 };
    static const char full[] = "########################################";
    const flip_settings *s = &r->trainer.data.s;
    double done = (double)r->trainer.epoch / (double)s->epochs;
    double each = (flip_seconds() - r->epochs_started) / (double)r->tally.epochs;
    if (!r->terminal || r->trainer.epoch == s->epochs) return;
    fprintf(r->out, "[%.*s%*s] %3.0f %%, %.0f s left", (int)(done * WIDTH), full,
            WIDTH - (int)(done * WIDTH), "", 100 * done,
            each * (double)(s->epochs - r->trainer.epoch));
    fflush(r->out);
}

static void say_epoch(const run *r, double valid, bool best, double seconds) {
    const flip_settings *s = &r->trainer.data.s;
    if (!r->out) return;
    if (r->terminal) fprintf(r->out, "\r\033[K"); /* wipe the bar */
    fprintf(r->out, "epoch %*lld/%lld  loss %.6f", s->epochs < 1000 ? 3 : 5,
            (long long)r->trainer.epoch, (long long)s->epochs, r->trainer.loss);
    if (!isnan(valid)) fprintf(r->out, "  valid %s %.4f%s", s->metric, valid, best ? " *" : "  ");
    fprintf(r->out, "  %.4f s\n", seconds);
    fflush(r->out);
    say_progress(r);
}

/* Validation of the current parameters; keeps them when they are the best so far. */
static flip_status validate(run *r, double *valid, bool *best) {
    flip_trainer *t = &r->trainer;
    double score[FLIP_PARTS], losses[FLIP_PARTS];
    FLIP_TRY(flip_measure(t, FLIP_SCORE_VALID, score, losses));
    double loss = losses[FLIP_PART_VALID];
    *valid = score[FLIP_PART_VALID];
    bool equal = *valid == t->best_metric;
    *best = t->best_epoch == 0 || isnan(*valid) ||
            flip_metric_better(&t->data.metric, *valid, t->best_metric) ||
            (equal && loss < t->best_loss);
    if (!*best) return FLIP_OK;
    t->best_metric = *valid;
    t->best_loss = loss;
    t->best_epoch = t->epoch;
    flip_trainer_keep(t);
    return FLIP_OK;
}

/* What an epoch, or a step of live updates, begins with. */
typedef struct mark {
    flip_meter meter;
    double wall, cpu;
    uint64_t sent[2];
    flip_device_counts device;
} mark;

static mark begin_mark(const run *r) {
    const flip_data *data = &r->trainer.data;
    mark m = {.meter = *flip_comm_meter(data->comm),
              .wall = flip_seconds(),
              .cpu = cpu_seconds(),
              .device = r->trainer.kernels->counts()};
    if (data->snapshots) flip_snapshots_sent(data->snapshots, &m.sent[0], &m.sent[1]);
    return m;
}

/* Counts it; returns its seconds. */
static double count_since(run *r, const mark *m) {
    mark now = begin_mark(r);
    for (int k = 0; k < 2; k++)
        r->tally.graph[k] += now.sent[k] - m->sent[k];
    r->tally.cpu[r->tally.epochs] = now.cpu - m->cpu;
    r->tally.seconds[r->tally.epochs++] = now.wall - m->wall;
    flip_meter_add(&r->tally.train, &now.meter, &m->meter);
    flip_device_counts_add(&r->tally.device, &now.device, &m->device);
    if (r->tally.epochs > 1) return now.wall - m->wall;
    flip_meter_add(&r->tally.first, &now.meter, &m->meter);
    r->tally.device_first = r->tally.device;
    return now.wall - m->wall;
}

static flip_status one_epoch(run *r) {
    flip_trainer *t = &r->trainer;
    const flip_settings *s = &t->data.s;
    flip_meter *meter = flip_comm_meter(t->data.comm);
    double valid = NAN;
    bool best = false;
    mark start = begin_mark(r);
    FLIP_TRY(flip_trainer_epoch(t));
    double seconds = count_since(r, &start);
    flip_meter before = *meter;
    if (t->epoch % s->eval_every == 0 || t->epoch == s->epochs) {
        FLIP_TRY(validate(r, &valid, &best));
        r->tally.evaluations++;
    }
    flip_meter_add(&r->tally.evaluate, meter, &before);
    say_epoch(r, valid, best, seconds);
    return flip_report_epoch(r->report, t->epoch, t->loss, valid, seconds,
                             flip_seconds() - start.wall - seconds);
}

static flip_status save(run *r) {
    flip_meter *meter = flip_comm_meter(r->trainer.data.comm), before = *meter;
    FLIP_TRY(flip_checkpoint_write(&r->trainer, r->checkpoint, r->io));
    flip_meter_add(&r->tally.train, meter, &before);
    return FLIP_OK;
}

/* Has any rank been asked to stop? Then all save and stop. */
static flip_status stop_if_asked(run *r) {
    int64_t asked = asked_to_stop;
    FLIP_TRY(flip_comm_max_i64(r->trainer.data.comm, &asked, 1));
    if (!asked) return FLIP_OK;
    if (!r->checkpoint[0]) r->checkpoint = "flipbook-checkpoint.h5";
    FLIP_TRY(save(r));
    if (r->out)
        fprintf(r->out, "%sstopped by request after epoch %lld; continue with --resume %s\n",
                r->terminal ? "\r\033[K" : "", (long long)r->trainer.epoch, r->checkpoint);
    return FLIP_STOPPED;
}

static flip_status epochs(run *r) {
    flip_trainer *t = &r->trainer;
    const flip_settings *s = &t->data.s;
    while (t->epoch < s->epochs) {
        if (s->patience > 0 && t->best_epoch > 0 && t->epoch - t->best_epoch >= s->patience) {
            if (r->out)
                fprintf(r->out, "%sstopped early: no better validation for %lld epochs\n",
                        r->terminal ? "\r\033[K" : "", (long long)s->patience);
            break;
        }
        FLIP_TRY(one_epoch(r));
        FLIP_TRY(stop_if_asked(r));
        bool due = s->checkpoint_every > 0 && t->epoch % s->checkpoint_every == 0;
        if (due && t->epoch < s->epochs) FLIP_TRY(save(r));
    }
    return FLIP_OK;
}

/* ---- live updates: a step after the other ---- */

static void say_live(const run *r, double seconds) {
    const flip_live *live = &r->live;
    const flip_metric *metric = &r->trainer.data.metric;
    if (!r->out) return;
    fprintf(r->out, "step %5d  ", live->step);
    if (live->scores.true_pairs == 0)
        fprintf(r->out, "no pairs in the next");
    else
        fprintf(r->out, "%s %.4f of %lld pairs, then %lld epochs, loss %.6f, held out %.6f",
                r->trainer.data.s.metric, flip_link_scores_metric(&live->scores, metric),
                (long long)live->scores.true_pairs, (long long)live->epochs, live->loss,
                live->held);
    fprintf(r->out, "  %.4f s\n", seconds);
    fflush(r->out);
}

static flip_status live_step(run *r, int32_t block) {
    mark start = begin_mark(r);
    FLIP_TRY(flip_live_step(&r->live, &r->trainer, block));
    double seconds = count_since(r, &start);
    say_live(r, seconds);
    return flip_report_live(r->report, &r->live, seconds);
}

static flip_status live_steps(run *r) {
    flip_data *data = &r->trainer.data;
    FLIP_TRY(flip_live_begin(&r->live, &r->trainer));
    for (int32_t k = 0; k + data->lead < data->layout->n_blocks; k++) {
        FLIP_TRY(live_step(r, k));
        int64_t asked = asked_to_stop;
        FLIP_TRY(flip_comm_max_i64(data->comm, &asked, 1));
        if (asked && r->out)
            fprintf(r->out, "stopped by request after step %d; nothing was saved\n", r->live.step);
        if (asked) return FLIP_STOPPED;
    }
    return FLIP_OK;
}

/* Scores of the three splits with the best parameters; the current ones come back afterwards. */
static flip_status final_scores(run *r, flip_result *result) {
    if (r->trainer.data.s.protocol == FLIP_PROTOCOL_LIVE)
        return flip_live_result(&r->live, &r->trainer, result);
    flip_trainer_swap(&r->trainer);
    FLIP_TRY(flip_measure_result(&r->trainer, result));
    flip_trainer_swap(&r->trainer);
    return FLIP_OK;
}

static void say_result(const run *r, const flip_result *result) {
    const char *name = result->metric;
    if (!r->out) return;
    char text[FLIP_VALUE_SIZE];
    if (r->trainer.data.s.protocol == FLIP_PROTOCOL_LIVE) {
        fprintf(r->out, "\nlive updates, %lld epochs: %s test %s", (long long)result->epochs, name,
                flip_value_words(text, result->test));
    } else {
        fprintf(r->out, "\nbest epoch %lld: %s train %s", (long long)result->best_epoch, name,
                flip_value_words(text, result->train));
        if (!isnan(result->valid)) fprintf(r->out, ", valid %.4f", result->valid);
        if (!isnan(result->test)) fprintf(r->out, ", test %.4f", result->test);
    }
    fprintf(r->out, "\n");
    if (r->trainer.data.s.task == FLIP_TASK_LINK) flip_link_say(r->out, result);
    fprintf(r->out, "\n");
}

/* Rank 0 alone. */
static flip_status begin_report(run *r) {
    const flip_trainer *t = &r->trainer;
    const flip_settings *s = &t->data.s;
    if (flip_comm_rank(t->data.comm) != 0 || !s->report[0]) return FLIP_OK;
    FLIP_TRY(flip_report_open(&r->report, s->report, s->resume[0] ? t->epoch : -1));
    char *json = r->io->to_json(s);
    flip_status status = flip_report_settings(r->report, json, t);
    free(json);
    return status;
}

static flip_status prepare(run *r, flip_comm *comm, const flip_settings *settings) {
    flip_trainer *t = &r->trainer;
    size_t base = flip_memory_now();
    FLIP_TRY(flip_data_open(&t->data, comm, settings));
    if (settings->resume[0] && !settings->grown)
        FLIP_TRY(flip_checkpoint_choices(&t->data.s, comm, settings->resume));
    FLIP_TRY(flip_trainer_distribute(t, base));
    const flip_settings *s = &t->data.s;
    if (r->out && r->io->print) r->io->print(s, r->io->asked, r->out);
    FLIP_TRY(refuse_memory(r, &t->estimate));
    FLIP_TRY(flip_data_place(&t->data));
    FLIP_TRY(flip_device_connect(t));
    say_data(r);
    say_estimate(r, &t->estimate);
    FLIP_TRY(flip_batching_create(&t->batching, &t->data));
    FLIP_TRY(flip_data_adjacency(&t->data));
    FLIP_TRY(flip_trainer_build(t));
    say_model(r);
    if (s->resume[0]) FLIP_TRY(flip_checkpoint_read(t, s->resume, r->io, true));
    if (s->resume[0] && r->out)
        fprintf(r->out, "resumed  '%s' after epoch %lld\n", s->resume, (long long)t->epoch);
    if (t->grown[0] && r->out)
        fprintf(r->out, "grown    since then: %s; the best epoch is looked for anew\n", t->grown);
    r->checkpoint = s->checkpoint[0] ? s->checkpoint : s->resume;
    FLIP_TRY(flip_container_writable(comm, r->checkpoint));
    FLIP_TRY(flip_comm_agree(comm, begin_report(r)));
    size_t most = (size_t)(s->epochs > t->epoch ? s->epochs - t->epoch : 0);
    if (s->protocol == FLIP_PROTOCOL_LIVE) most = (size_t)t->data.steps; /* a step is an entry */
    FLIP_TRY(flip_alloc(&r->tally.seconds, most, sizeof(double), "epoch times"));
    return flip_alloc(&r->tally.cpu, most, sizeof(double), "epoch times");
}

static flip_status finish(run *r, flip_result *result) {
    flip_trainer *t = &r->trainer;
    json_t *counts = NULL;
    flip_meter *meter = flip_comm_meter(t->data.comm), before = *meter;
    *result = (flip_result){0};
    flip_tape_reset(t->tape, false, t->epoch);
    flip_tape_trim(t->tape); /* scores of all items and this machine's limits have room again */
    FLIP_TRY(final_scores(r, result));
    flip_meter_add(&r->tally.rest, meter, &before);
    result->epochs = t->epoch;
    result->best_epoch = t->best_epoch;
    result->loss = t->loss;
    say_result(r, result);
    if (r->checkpoint[0]) FLIP_TRY(save(r));
    flip_tape_reset(t->tape, false, t->epoch);
    flip_tape_trim(t->tape);
    r->tally.total_seconds = flip_seconds() - r->started;
    FLIP_TRY(flip_tally_json(&counts, &r->tally, t)); /* before the limits are measured */
    FLIP_TRY(flip_tally_print(&r->tally, t, r->out));
    flip_status status = flip_report_summary(r->report, result, t, counts);
    json_decref(counts);
    return status;
}

flip_status flip_train(flip_result *result, flip_comm *comm, const flip_settings *settings,
                       const flip_io *io) {
    run r = {.io = io, .out = io->out, .checkpoint = "", .started = flip_seconds()};
    r.terminal = is_terminal(r.out);
    flip_meter before = *flip_comm_meter(comm);
    flip_status status;
    watch_signals();
    FLIP_TRY_GOTO(prepare(&r, comm, settings));
    flip_meter_add(&r.tally.rest, flip_comm_meter(comm), &before);
    r.epochs_started = flip_seconds();
    r.tally.loaded_bytes = flip_memory_now();
    FLIP_TRY_GOTO(settings->protocol == FLIP_PROTOCOL_LIVE ? live_steps(&r) : epochs(&r));
    FLIP_TRY_GOTO(finish(&r, result));
done:
    flip_report_close(&r.report);
    flip_live_finish(&r.live);
    flip_free(r.tally.seconds);
    flip_free(r.tally.cpu);
    flip_trainer_close(&r.trainer);
    return status;
}
