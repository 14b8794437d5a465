/* Batches in a device's memory: the sampler's rows lie there, and draws, numbers and transposes are
 * the kernels' (draws.c). A hop waits for the device for how many entries and rows there are now:
 * once, or, of LABOR and where all are drawn, first for how many there will be. Memory is taken by
 * what the fanouts allow, by LABOR as it draws, and is used again. */
#include "internal.h"

#include <math.h>
#include <string.h>

typedef struct room {
    void *memory;
    size_t bytes;
} room;

/* Sizes that the host asks for. */
enum { SIZE_ENTRIES, SIZE_ROWS, N_SIZES };

struct placed {
    const flip_kernels *kernels;
    int64_t *row_ptr, *original;
    int32_t *col, *step, *slot; /* slot: of nodes, temporal of nodes at steps [n_own, at_steps] */
    flip_real *weight, *factor, *factor_v;
    double *weight_sums;
    uint8_t *looped;
    float *chance; /* LABOR: r_u [layers, n_own] of chance_epoch */
    int64_t chance_epoch;
    int32_t at_steps; /* temporal: steps + 1, else 0 */
    int original_bits;
    int64_t *sizes; /* [N_SIZES] */
    room work, draws, seed;
};

enum {
    ROOM_FIRST,
    ROOM_COL,
    ROOM_VALUE,
    ROOM_SCALE,
    ROOM_PTR,
    ROOM_TURNED,
    ROOM_TURNED_VALUE,
    ROOM_PLACE,
    N_ROOMS
};

struct flip_batch_memory {
    const flip_kernels *kernels;
    room layer[FLIP_SAMPLE_LAYERS][N_ROOMS];
    room row, key, node, step;
};

/* ---- what there may be ---- */

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static bool has_own(const flip_sampler_params *p) {
    return flip_kind_diagonal(p->adjacency) || p->adjacency == FLIP_ADJACENCY_ATTENTION;
}

/* Steps that a batch's rows have: a seed's is 0 … steps. 0: rows are nodes. */
static int32_t row_steps(const flip_sampler_params *p) {
    return p->temporal ? p->steps + 1 : 0;
}

/* What may be a row of a batch: n nodes, at every step. */
static int64_t all_rows(const flip_sampler_params *p, int64_t n) {
    return p->temporal ? n * row_steps(p) : n;
}

/* Entries that all these rows read together, of n_entries. */
static int64_t all_entries(const flip_sampler_params *p, int64_t n_entries) {
    if (!p->temporal) return n_entries;
    return n_entries * (p->life > 0 ? least(p->life, p->steps) : p->steps);
}

/* Are times of candidates kept? */
static bool by_weight(const flip_sampler_params *p) {
    return p->kind == FLIP_SAMPLE_WEIGHTED && !p->replace;
}

/* Are a hop's entries as many as its fanout says, at most? LABOR's are on average. */
static bool is_bounded(const flip_sampler_params *p, int32_t hop) {
    return p->fanout[hop] >= 0 && p->kind != FLIP_SAMPLE_LABOR;
}

/* Most entries of so many rows, of n nodes with n_entries; without replacement a row's are
 * distinct. LABOR: three standard deviations more than are expected, as if all rows drew alike. */
static int64_t most_entries(const flip_sampler_params *p, int32_t hop, int64_t rows, int64_t n,
                            int64_t n_entries) {
    const int64_t all = all_entries(p, n_entries) + all_rows(p, n), fanout = p->fanout[hop];
    const int64_t more =
        is_bounded(p, hop) || fanout < 0 ? 0 : (int64_t)ceil(3 * sqrt((double)fanout));
    const int64_t drawn = rows * (fanout + more + (int64_t)has_own(p));
    if (fanout < 0) return all;
    return p->replace ? drawn : least(drawn, all);
}

static bool in_place(const flip_sampler_params *p, int32_t hop) {
    return p->in_place && hop == p->layers - 1;
}

/* Most rows after a hop. */
static int64_t most_rows(const flip_sampler_params *p, int32_t hop, int64_t rows, int64_t n,
                         int64_t n_entries) {
    if (in_place(p, hop)) return rows;
    return least(all_rows(p, n), rows + most_entries(p, hop, rows, n, n_entries));
}

int64_t flip_batch_most_rows(int64_t n_own, int64_t n_seeds, int64_t n_events,
                             const flip_sampler_params *p, int32_t hops) {
    int64_t rows = least(n_seeds, all_rows(p, n_own));
    for (int32_t hop = 0; hop < hops; hop++)
        rows = most_rows(p, hop, rows, n_own, n_events);
    return rows;
}

/* Are what may be rows, and a hop's entries behind its rows, below FLIP_NO_SLOT, at worst? */
static bool few_enough(const flip_sampler_params *p, int64_t n, int64_t n_seeds, int64_t n_events) {
    const int64_t all = all_entries(p, n_events) + all_rows(p, n);
    int64_t rows = least(n_seeds, all_rows(p, n));
    for (int32_t hop = 0; hop < p->layers; hop++) {
        const bool bounded = is_bounded(p, hop);
        const int64_t entries = bounded ? most_entries(p, hop, rows, n, n_events) : all;
        if (rows + entries >= FLIP_NO_SLOT) return false;
        if (!in_place(p, hop)) rows = least(all_rows(p, n), rows + entries);
    }
    return all_rows(p, n) < FLIP_NO_SLOT;
}

static const char *const asked = "with several ranks they ask each other for neighbours";

const char *flip_sampler_unplaced(const flip_sampler_params *p, int ranks, int64_t n_seeds,
                                  int64_t n_events) {
    if (ranks > 1) return asked;
    if (!few_enough(p, p->rank_first[ranks], n_seeds, n_events))
        return "entries of batches, and nodes at steps, are numbered in 32 bits on a GPU";
    return NULL;
}

/* ---- memory ---- */

/* n items, with some to spare where it grows: batches differ little. */
static flip_status reserve(const flip_kernels *k, room *r, int64_t n, size_t size,
                           void *out_pointer) {
    size_t bytes = (size_t)(n > 0 ? n : 1) * size;
    if (bytes > r->bytes) bytes += bytes / 8;
    FLIP_TRY(flip_kernels_reserve(k, &r->memory, &r->bytes, bytes, "sampled batches"));
    memcpy(out_pointer, &r->memory, sizeof r->memory);
    return FLIP_OK;
}

void sample_free_memory(flip_batch_memory **memory) {
    flip_batch_memory *m = *memory;
    if (!m) return;
    for (int l = 0; l < FLIP_SAMPLE_LAYERS; l++)
        for (int i = 0; i < N_ROOMS; i++)
            m->kernels->give_back(m->layer[l][i].memory);
    room *rows[] = {&m->row, &m->key, &m->node, &m->step};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        m->kernels->give_back(rows[i]->memory);
    flip_free(m);
    *memory = NULL;
}

void sample_placed_free(placed **out) {
    placed *p = *out;
    if (!p) return;
    void *all[] = {p->row_ptr, p->original,    p->col,          p->step,       p->slot,
                   p->weight,  p->weight_sums, p->factor,       p->looped,     p->chance,
                   p->sizes,   p->work.memory, p->draws.memory, p->seed.memory};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        p->kernels->give_back(all[i]);
    if (p->factor_v != p->factor) p->kernels->give_back(p->factor_v);
    flip_free(p);
    *out = NULL;
}

/* A copy of the host's array in the kernels' memory; NULL stays NULL. */
static flip_status send(const flip_kernels *k, const void *host, size_t n, size_t size,
                        void *out_pointer) {
    return flip_kernels_copy_of(k, out_pointer, host, host ? n * size : 0, "the sampler's rows");
}

static flip_status no_slots(const flip_sampler *s, placed *p) {
    enum { CHUNK = 1 << 18 };
    const flip_kernels *k = p->kernels;
    const int64_t n = all_rows(&s->p, s->n_own);
    int32_t *none;
    FLIP_TRY(k->take(&p->slot, (size_t)(n > 0 ? n : 1) * sizeof *none, "numbers of own nodes"));
    FLIP_TRY(flip_alloc(&none, CHUNK, sizeof *none, "numbers of own nodes"));
    for (int32_t i = 0; i < CHUNK; i++)
        none[i] = FLIP_NO_SLOT;
    for (int64_t at = 0; at < n; at += CHUNK)
        k->send(p->slot + at, none, (size_t)least(n - at, CHUNK) * sizeof *none);
    const flip_status status = k->wait();
    flip_free(none);
    return status;
}

/* Draws of steps are put in order by rows and originals together, in 64 bits. */
static flip_status count_bits(const flip_sampler *s, placed *p) {
    int64_t most = 0;
    for (int32_t v = 0; v < s->n_own; v++)
        if (s->original[v] > most) most = s->original[v];
    p->original_bits = flip_bits_telling(most + 1);
    if (!s->p.temporal || p->original_bits <= 32) return FLIP_OK;
    return FLIP_FAIL(FLIP_ERROR_USAGE,
                     "node %lld: on a GPU draws of steps take ids below 4294967296",
                     (long long)most);
}

static flip_status place(flip_sampler *s, placed *p) {
    const flip_kernels *k = p->kernels;
    const size_t n = (size_t)s->n_own, entries = (size_t)s->row_ptr[n], real = sizeof(flip_real);
    const bool values = sample_has_values(s);
    FLIP_TRY(send(k, s->row_ptr, n + 1, sizeof *s->row_ptr, &p->row_ptr));
    FLIP_TRY(count_bits(s, p));
    FLIP_TRY(send(k, s->col, entries, sizeof *s->col, &p->col));
    FLIP_TRY(send(k, s->step, entries, sizeof *s->step, &p->step));
    FLIP_TRY(send(k, s->original, n, sizeof *s->original, &p->original));
    FLIP_TRY(send(k, s->weight, entries, real, &p->weight));
    FLIP_TRY(send(k, s->weight_sums, entries, sizeof *s->weight_sums, &p->weight_sums));
    FLIP_TRY(send(k, values ? s->factor : NULL, n, real, &p->factor));
    p->factor_v = p->factor;
    if (values && s->factor_v != s->factor) FLIP_TRY(send(k, s->factor_v, n, real, &p->factor_v));
    FLIP_TRY(send(k, s->looped, n, 1, &p->looped));
    FLIP_TRY(k->take(&p->sizes, N_SIZES * sizeof *p->sizes, "sizes of batches"));
    k->clear(p->sizes, N_SIZES * sizeof *p->sizes);
    p->chance_epoch = INT64_MIN;
    if (s->p.kind == FLIP_SAMPLE_LABOR)
        FLIP_TRY(
            k->take(&p->chance, (size_t)s->p.layers * n * sizeof *p->chance, "draws of sources"));
    return no_slots(s, p);
}

flip_status flip_sampler_place(flip_sampler *s, const flip_kernels *kernels) {
    const flip_gid end[2] = {0, s->n_own};
    flip_sampler_params p = s->p;
    p.rank_first = end;
    const char *why = s->size > 1 ? asked : flip_sampler_unplaced(&p, 1, 0, s->row_ptr[s->n_own]);
    if (why) return FLIP_FAIL(FLIP_ERROR_INTERNAL, "batches stay on the host: %s", why);
    FLIP_TRY(flip_alloc_zero(&s->placed, 1, sizeof *s->placed, "sampler"));
    s->placed->kernels = kernels;
    s->placed->at_steps = row_steps(&s->p);
    flip_status status = place(s, s->placed);
    if (status != FLIP_OK) sample_placed_free(&s->placed);
    return status;
}

size_t flip_sampler_placed_bytes_of(int64_t n_own, int64_t n_events, bool weighted,
                                    const flip_sampler_params *params) {
    const int64_t slots = params->temporal ? all_rows(params, n_own) : 0; /* a node's are counted */
    return flip_sampler_bytes_of(n_own, 0, n_events, weighted, params) +
           (size_t)slots * sizeof(int32_t) + N_SIZES * sizeof(int64_t);
}

size_t flip_batch_placed_bytes_of(int64_t n_own, int64_t n_seeds, int64_t n_events,
                                  const flip_sampler_params *p) {
    const bool value = flip_kind_diagonal(p->adjacency), bare = flip_kind_bare(p->adjacency);
    int64_t rows = least(n_seeds, all_rows(p, n_own)), work = rows;
    size_t draws = 0;
    size_t bytes = (size_t)rows * sizeof(int32_t);
    for (int32_t hop = 0; hop < p->layers; hop++) {
        const int64_t entries = most_entries(p, hop, rows, n_own, n_events);
        const int64_t more = most_rows(p, hop, rows, n_own, n_events);
        const size_t entry = sizeof(int32_t) + (value ? sizeof(flip_real) : 0);
        const bool turns = hop < p->layers - 1 || p->input_gradient || bare;
        const size_t room =
            flip_draws_room(rows, all_entries(p, n_events), p->fanout[hop], by_weight(p));
        if (room > draws) draws = room;
        bytes += (size_t)rows * (8 + sizeof(flip_real)) + (size_t)entries * entry * (turns ? 2 : 1);
        if (turns) bytes += (size_t)more * 8 + (size_t)entries * (bare ? 8 : 0);
        if (entries > work) work = entries;
        rows = more;
    }
    bytes += (size_t)rows * ((p->temporal ? 3 : 1) * sizeof(int32_t) + sizeof(int64_t)) +
             flip_draws_work(work) + draws;
    return bytes + bytes / 8 + (FLIP_SAMPLE_LAYERS * N_ROOMS + 6) * (size_t)64;
}

/* ---- one batch ---- */

static flip_status twice(int32_t i, int32_t before) {
    return FLIP_FAIL(FLIP_ERROR_INTERNAL, "seed %d of a batch is seed %d once more", i, before);
}

/* Seeds at steps, each once. */
static flip_status seeds_at_steps(flip_sampler *s, flip_arena *arena, int32_t n,
                                  const flip_gid *seeds, const int32_t *step, int32_t **out) {
    flip_status status = FLIP_OK;
    int32_t *row;
    FLIP_TRY(flip_arena_alloc(arena, &row, (size_t)n, sizeof *row));
    for (int32_t i = 0; i < n && status == FLIP_OK; i++) {
        const int32_t own = (int32_t)(seeds[i] - s->first),
                      when = step && step[i] > 0 ? step[i] : 0;
        int32_t number = i;
        if (when > s->p.steps)
            status = FLIP_FAIL(FLIP_ERROR_INTERNAL, "a seed's step is %d, the last is %d", when,
                               s->p.steps);
        else
            status = flip_gid_map_add(&s->far, seeds[i] << 31 | when, &number);
        if (status == FLIP_OK && number != i) status = twice(i, number);
        row[i] = own * s->placed->at_steps + when;
    }
    sample_forget_far(s);
    *out = row;
    return status;
}

/* Own rows of the seeds, each once. */
static flip_status seed_rows(flip_sampler *s, flip_arena *arena, int32_t n, const flip_gid *seeds,
                             int32_t **out) {
    flip_status status = FLIP_OK;
    int32_t *row, done = 0;
    FLIP_TRY(flip_arena_alloc(arena, &row, (size_t)n, sizeof *row));
    for (; done < n; done++) {
        row[done] = (int32_t)(seeds[done] - s->first);
        if (s->slot[row[done]] >= 0) {
            status = twice(done, s->slot[row[done]]);
            break;
        }
        s->slot[row[done]] = done;
    }
    for (int32_t i = 0; i < done; i++)
        s->slot[row[i]] = -1;
    *out = row;
    return status;
}

/* Rows of the batch, by number. */
static flip_status begin_rows(flip_sampler *s, flip_batch *b, flip_numbering *r, int32_t n,
                              const flip_gid *seeds, const int32_t *step) {
    placed *p = s->placed;
    const flip_kernels *k = p->kernels;
    int32_t *row = NULL, *col;
    void *work;
    FLIP_TRY(s->p.temporal ? seeds_at_steps(s, b->arena, n, seeds, step, &row)
                           : seed_rows(s, b->arena, n, seeds, &row));
    const int64_t rows = flip_batch_most_rows(s->n_own, n, s->row_ptr[s->n_own], &s->p, b->layers);
    *r = (flip_numbering){.slot = p->slot, .steps = p->at_steps, .original = p->original};
    FLIP_TRY(reserve(k, &b->memory->row, rows, sizeof *r->row, &r->row));
    FLIP_TRY(reserve(k, &b->memory->key, rows, sizeof *r->key, &r->key));
    if (r->steps) {
        FLIP_TRY(reserve(k, &b->memory->node, rows, sizeof *r->node, &r->node));
        FLIP_TRY(reserve(k, &b->memory->step, rows, sizeof *r->step, &r->step));
    }
    FLIP_TRY(reserve(k, &p->seed, n, sizeof *col, &col));
    FLIP_TRY(reserve(k, &p->work, (int64_t)flip_draws_work(n), 1, &work));
    k->send(col, row, (size_t)n * sizeof *row);
    k->number_rows(r, 0, n, NULL, col, p->sizes + SIZE_ROWS, work);
    return FLIP_OK;
}

/* Room for n items, of which `used` are there. */
static flip_status grow(const flip_kernels *k, room *r, int64_t used, int64_t n, size_t size,
                        void *out_pointer) {
    room wider = {0};
    if ((size_t)n * size <= r->bytes) return FLIP_OK;
    FLIP_TRY(reserve(k, &wider, n, size, out_pointer));
    k->copy(wider.memory, r->memory, (size_t)used * size);
    k->give_back(r->memory);
    *r = wider;
    return FLIP_OK;
}

/* LABOR: more may be drawn than was foreseen. */
static flip_status grow_rows(const flip_kernels *k, flip_batch_memory *m, flip_numbering *r,
                             int64_t used, int64_t n) {
    FLIP_TRY(grow(k, &m->row, used, n, sizeof *r->row, &r->row));
    FLIP_TRY(grow(k, &m->key, used, n, sizeof *r->key, &r->key));
    if (!r->steps) return FLIP_OK;
    FLIP_TRY(grow(k, &m->node, used, n, sizeof *r->node, &r->node));
    return grow(k, &m->step, used, n, sizeof *r->step, &r->step);
}

/* Room for the entries of a hop. */
static flip_status reserve_entries(const flip_sampler *s, room *rooms, drawn *d, int32_t n,
                                   int64_t most) {
    const flip_kernels *k = s->placed->kernels;
    FLIP_TRY(reserve(k, &rooms[ROOM_COL], most, sizeof *d->col, &d->col));
    if (sample_has_values(s))
        FLIP_TRY(reserve(k, &rooms[ROOM_VALUE], most, sizeof *d->value, &d->value));
    if (sample_has_scales(s))
        FLIP_TRY(reserve(k, &rooms[ROOM_SCALE], n, sizeof *d->scale, &d->scale));
    return FLIP_OK;
}

static flip_status turn(const flip_sampler *s, room *rooms, flip_adjacency *g) {
    placed *p = s->placed;
    const flip_kernels *k = p->kernels;
    const int64_t n = g->a.n_entries;
    turned t = {0};
    void *work;
    FLIP_TRY(reserve(k, &rooms[ROOM_PTR], (int64_t)g->a.n_cols + 2, sizeof *t.ptr, &t.ptr));
    FLIP_TRY(reserve(k, &rooms[ROOM_TURNED], n, sizeof *t.col, &t.col));
    if (g->a.value) FLIP_TRY(reserve(k, &rooms[ROOM_TURNED_VALUE], n, sizeof *t.value, &t.value));
    if (flip_kind_bare(s->p.adjacency))
        FLIP_TRY(reserve(k, &rooms[ROOM_PLACE], n, sizeof *t.place, &t.place));
    FLIP_TRY(reserve(k, &p->work, (int64_t)flip_draws_work(n), 1, &work));
    k->turn_entries(&g->a, t.ptr, t.col, t.value, t.place, work);
    sample_set_transpose(g, &t);
    return FLIP_OK;
}

static flip_draws draws_of(const flip_sampler *s, int32_t hop, int64_t epoch) {
    placed *p = s->placed;
    flip_draws d = sample_draws(s, hop, epoch);
    if (p->chance && p->chance_epoch != epoch) {
        sample_share_chances(s, p->kernels, p->original, epoch, p->chance);
        p->chance_epoch = epoch;
    }
    if (p->chance) d.chance = p->chance + (size_t)hop * (size_t)s->n_own;
    d.n_entries = all_entries(&s->p, s->row_ptr[s->n_own]);
    d.row_ptr = p->row_ptr;
    d.col = p->col;
    d.step = p->step;
    d.weight = p->weight;
    d.weight_sums = p->weight_sums;
    d.original = p->original;
    d.original_bits = p->original_bits;
    d.factor = p->factor;
    d.factor_v = p->factor_v;
    d.looped = p->looped;
    return d;
}

static void set_rows(flip_draws *d, const flip_numbering *r, int32_t n) {
    d->n = n;
    d->row = r->steps ? r->node : r->row;
    d->before = r->step;
}

/* *n_rows: in, the hop's destinations; out, its sources. */
static flip_status add_hop(flip_sampler *s, flip_batch *b, flip_numbering *r, int32_t hop,
                           int64_t epoch, int32_t *n_rows) {
    placed *p = s->placed;
    const flip_kernels *k = p->kernels;
    const int32_t layer = b->layers - 1 - hop, n = *n_rows;
    room *rooms = b->memory->layer[layer];
    int64_t most = most_entries(&s->p, hop, n, s->n_own, s->row_ptr[s->n_own]);
    int64_t sizes[N_SIZES];
    flip_draws d = draws_of(s, hop, epoch);
    drawn out = {0};
    void *work, *left;
    double *keys = NULL;
    set_rows(&d, r, n);
    FLIP_TRY(reserve(k, &rooms[ROOM_FIRST], (int64_t)n + 1, sizeof *out.first, &out.first));
    FLIP_TRY(reserve(k, &p->draws,
                     (int64_t)flip_draws_room(n, d.n_entries, d.fanout, by_weight(&s->p)), 1,
                     &left));
    k->count_draws(&d, out.first, left);
    if (!is_bounded(&s->p, hop)) k->receive(&most, out.first + n, sizeof most);
    if (n + most >= FLIP_NO_SLOT)
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "a batch may draw %lld entries: more than are numbered in 32 bits; use a "
                         "smaller --batch or --fanout",
                         (long long)most);
    if (s->p.kind == FLIP_SAMPLE_LABOR && !in_place(&s->p, hop))
        FLIP_TRY(grow_rows(k, b->memory, r, n, least(all_rows(&s->p, s->n_own), n + most)));
    set_rows(&d, r, n); /* they may have moved */
    FLIP_TRY(reserve_entries(s, rooms, &out, n, most));
    FLIP_TRY(reserve(k, &p->work, (int64_t)flip_draws_work(most), 1, &work));
    if (!k->on_device) FLIP_TRY(sample_keys(b->arena, &d, &keys));
    k->draw_entries(&d,
                    &(flip_drawn){.first = out.first,
                                  .col = out.col,
                                  .value = out.value,
                                  .scale = out.scale,
                                  .key = keys,
                                  .most = most,
                                  .work = work},
                    left);
    if (r->steps && !in_place(&s->p, hop))
        k->set_at_steps(n, out.first, r->step, r->steps, out.col);
    if (!in_place(&s->p, hop))
        k->number_rows(r, n, most, out.first + n, out.col, p->sizes + SIZE_ROWS, work);
    k->copy(p->sizes + SIZE_ENTRIES, out.first + n, sizeof *sizes);
    k->receive(sizes, p->sizes, sizeof sizes);
    *n_rows = (int32_t)sizes[SIZE_ROWS];
    sample_set_mfg(s, b, layer, &out, sizes[SIZE_ENTRIES], n,
                   in_place(&s->p, hop) ? s->n_own : *n_rows);
    return sample_turns(s, layer) ? turn(s, rooms, &b->mfg[layer].adjacency) : FLIP_OK;
}

/* What fails here ends the run: the numbers of the batch may stay. */
flip_status sample_placed(flip_sampler *s, flip_batch *b, int32_t n_seeds, const flip_gid *seeds,
                          const int32_t *step, int64_t epoch) {
    flip_numbering r;
    int32_t n = n_seeds;
    if (!b->memory) {
        FLIP_TRY(flip_alloc_zero(&b->memory, 1, sizeof *b->memory, "batch"));
        b->memory->kernels = s->placed->kernels;
    }
    FLIP_TRY(begin_rows(s, b, &r, n, seeds, step));
    for (int32_t hop = 0; hop < b->layers; hop++)
        FLIP_TRY(add_hop(s, b, &r, hop, epoch, &n));
    s->placed->kernels->forget_rows(n, r.row, r.slot);
    b->original = r.key;
    b->column = r.steps ? r.node : r.row;
    b->step = r.step;
    b->n_input = s->p.in_place ? 0 : n;
    return FLIP_OK;
}
