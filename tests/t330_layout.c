/* Layouts of 1-4 ranks for every number of chunks, with uneven parts, ranks without nodes, chunks
 * without steps and blocks: what is dealt and exchanged is compared with a function of node and
 * step, bytes with the formulas of the design. */
#include "ranks.h"

#include <flipbook/layout.h>

#include <stdlib.h>
#include <string.h>

enum { NODES = 23, STEPS = 11, EVENTS = 120, DIM = 3 };

static int rank, size;
static flip_comm *comm;
static flip_gid first[8];
static double work[STEPS];

typedef struct variant {
    int32_t n_time, n_blocks, first_step, slices;
    bool weighed, empty; /* empty: rank 1 owns nothing */
} variant;

static void split_nodes(bool empty) {
    for (int r = 0; r <= size; r++)
        first[r] = (flip_gid)NODES * r * r / ((flip_gid)size * size);
    if (empty && size >= 3) first[2] = first[1];
}

static int64_t original_of(flip_gid gid) {
    return (gid * 7 + 3) % NODES;
}

static flip_layout *open_layout(const variant *v) {
    int64_t original[NODES];
    flip_layout *l;
    split_nodes(v->empty);
    for (int t = 0; t < STEPS; t++)
        work[t] = (double)(t * t % 7 + (t == 4 ? 30 : 1));
    for (flip_gid g = first[rank]; g < first[rank + 1]; g++)
        original[g - first[rank]] = original_of(g);
    flip_layout_params params = {.n_time = v->n_time,
                                 .n_steps = STEPS,
                                 .first_step = v->first_step,
                                 .n_blocks = v->n_blocks,
                                 .slices = v->slices,
                                 .work = v->weighed ? work : NULL};
    CHECK_OK(flip_layout_create(&l, comm, first, original, &params));
    return l;
}

static void each_variant(void (*check)(flip_layout *l)) {
    static const int32_t blocks[] = {1, 2, 3, STEPS - 2};
    for (int32_t n_time = 1; n_time <= size; n_time++)
        for (int i = 0; size % n_time == 0 && i < 16; i++) {
            variant v = {n_time,    blocks[i % 4], i / 4 % 2 * 2, i % 3 == 0 ? 1 : 3,
                         i % 5 < 2, i > 7};
            flip_layout *l = open_layout(&v);
            check(l);
            flip_layout_destroy(&l);
            CHECK(l == NULL, "destroyed");
        }
}

/* ---- who holds what ---- */

/* No chunk is heavier than its share and its heaviest step together. */
static void check_balance(const flip_layout *l, int32_t k) {
    const int32_t *border = l->chunk_first + k * (l->n_time + 1);
    int32_t steps = l->block_first[k + 1] - l->block_first[k];
    double total = 0, heaviest = 0;
    for (int32_t t = l->block_first[k]; t < l->block_first[k + 1]; t++) {
        total += work[t];
        heaviest = work[t] > heaviest ? work[t] : heaviest;
    }
    for (int32_t c = 0; c < l->n_time; c++) {
        double sum = 0;
        for (int32_t t = border[c]; t < border[c + 1]; t++)
            sum += work[t];
        CHECK(border[c + 1] > border[c] || steps < l->n_time, "chunk %d of block %d is empty", c,
              k);
        CHECK(steps <= l->n_time || sum <= total / l->n_time + heaviest + 1e-9,
              "chunk %d has %g of %g", c, sum, total);
    }
}

static void check_shape(flip_layout *l) {
    int32_t own = 0;
    CHECK(l->n_space * l->n_time == size && l->part * l->n_time + l->chunk == rank, "the grid");
    CHECK(flip_comm_rank(l->time) == l->chunk && flip_comm_size(l->time) == l->n_time, "time");
    CHECK(flip_comm_rank(l->space) == l->part && flip_comm_size(l->space) == l->n_space, "space");
    CHECK(l->n_own == first[rank + 1] - first[rank], "own nodes");
    flip_gid from = first[l->part * l->n_time], to = first[(l->part + 1) * l->n_time];
    CHECK(l->part_first[l->part] == from && l->n_rows == to - from, "rows");
    for (int32_t i = 0; i < l->n_rows; i++)
        CHECK(l->original[i] == original_of(from + i), "original %d", i);
    CHECK(l->block_first[l->n_blocks] == STEPS, "the last step");
    for (int32_t k = 0; k < l->n_blocks; k++) {
        const int32_t *border = l->chunk_first + k * (l->n_time + 1);
        CHECK(l->block_first[k + 1] > l->block_first[k], "block %d has steps", k);
        CHECK(border[0] == l->block_first[k] && border[l->n_time] == l->block_first[k + 1],
              "block %d", k);
        CHECK(l->own_before[k] == own, "own steps before %d", k);
        own += flip_layout_steps(l, k);
        for (int32_t c = 0; c < l->n_time; c++) {
            CHECK(border[c + 1] >= border[c], "chunks ascend");
            for (int32_t t = border[c], block; t < border[c + 1]; t++)
                CHECK(flip_layout_chunk_of(l, t, &block) == c && block == k, "step %d", t);
        }
        check_balance(l, k);
    }
    CHECK(l->own_steps == own, "own steps");
}

static void test_shape(void **state) {
    (void)state;
    each_variant(check_shape);
    /* work that chunks can share: each is within one step of its share */
    enum { MANY = 60 };
    double many[MANY], total = 0, heaviest = 0;
    for (int t = 0; t < MANY; t++) {
        many[t] = t * t % 11 + t / 6 + 1; /* grows */
        total += many[t];
        heaviest = many[t] > heaviest ? many[t] : heaviest;
    }
    flip_layout *l;
    flip_layout_params params = {.n_time = size, .n_steps = MANY, .n_blocks = 1, .work = many};
    split_nodes(false);
    CHECK_OK(flip_layout_create(&l, comm, first, NULL, &params));
    for (int c = 0; c < size; c++) {
        double sum = 0;
        for (int32_t t = l->chunk_first[c]; t < l->chunk_first[c + 1]; t++)
            sum += many[t];
        CHECK(sum <= total / size + heaviest && sum >= total / size - heaviest,
              "chunk %d has %g of %g", c, sum, total);
    }
    flip_layout_destroy(&l);
}

static void test_refusals(void **state) {
    (void)state;
    static const struct {
        flip_layout_params params;
        const char *message;
    } cases[] = {
        {{.n_time = 5, .n_steps = 3, .n_blocks = 1}, "not a multiple of 5 chunks"},
        {{.n_time = 1, .n_steps = 3, .n_blocks = 4}, "3 steps cannot be cut into 4 blocks"},
        {{.n_time = 1, .n_steps = 3, .n_blocks = 2, .first_step = 2}, "1 steps cannot be cut"},
        {{.n_time = 1, .n_steps = 3, .n_blocks = 1, .first_step = 3}, "are no timeline"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        flip_layout *l;
        split_nodes(false);
        flip_error_clear();
        CHECK(flip_layout_create(&l, comm, first, NULL, &cases[i].params) == FLIP_ERROR_USAGE &&
                  !l && strstr(flip_error_message(), cases[i].message),
              "%s", flip_error_message());
    }
    flip_error_clear();
}

/* ---- dealing ---- */

static int32_t stamp(flip_gid gid, int32_t step, int32_t j) {
    return (int32_t)(gid * 1000 + step * 10 + j);
}

static void check_rows(flip_layout *l) {
    for (int constant = 0; constant < 2; constant++) {
        int32_t steps = constant ? 1 : STEPS;
        int32_t *own = malloc(((size_t)l->n_own * STEPS * DIM + 1) * sizeof *own);
        int32_t *out = malloc(((size_t)l->n_rows * STEPS * DIM + 1) * sizeof *out);
        for (int32_t i = 0; i < l->n_own * steps * DIM; i++)
            own[i] = stamp(first[rank] + i / DIM / steps, i / DIM % steps, i % DIM);
        CHECK_OK(flip_layout_deal_rows(l, own, DIM * sizeof *own, constant, out));
        for (int32_t k = 0; k < l->n_blocks; k++)
            for (int32_t i = 0; i < l->n_rows; i++)
                for (int32_t t = 0, n = flip_layout_steps(l, k); t < n; t++)
                    for (int32_t j = 0; j < DIM; j++) {
                        int32_t step = constant ? 0 : flip_layout_first(l, k) + t;
                        int32_t row = constant ? i : l->own_before[k] * l->n_rows + i * n + t;
                        int32_t want = stamp(l->part_first[l->part] + i, step, j);
                        int32_t got = out[row * DIM + j];
                        CHECK(got == want, "row %d step %d: %d, expected %d", i, step, got, want);
                    }
        free(own);
        free(out);
    }
}

/* ---- rows that change ---- */

/* Has node gid a row of its own at this step? */
static bool changes(flip_gid gid, int32_t step) {
    return step == 0 || (gid % 3 > 0 && (gid * 3 + step * 5) % 4 == 0);
}

/* The step of the row that the node has at this one. */
static int32_t row_at(flip_gid gid, int32_t step) {
    while (!changes(gid, step))
        step--;
    return step;
}

/* What the dealt rows say of this rank's steps; and no row but those that they read. */
static void check_dealt(const flip_layout *l, const flip_lasting_rows *dealt) {
    const int32_t *row = dealt->rows;
    for (int32_t i = 0; i < l->n_rows; i++) {
        const flip_gid gid = l->part_first[l->part] + i;
        bool read[STEPS] = {false};
        int64_t n = 0;
        for (int32_t k = 0; k < l->n_blocks; k++)
            for (int32_t t = 0; t < flip_layout_steps(l, k); t++) {
                const int32_t step = flip_layout_first(l, k) + t;
                int64_t at = dealt->first[i];
                while (at + 1 < dealt->first[i + 1] && dealt->step[at + 1] <= step)
                    at++;
                CHECK(at < dealt->first[i + 1] && dealt->step[at] == row_at(gid, step) &&
                          row[at] == stamp(gid, row_at(gid, step), 0),
                      "row %d step %d", i, step);
                read[row_at(gid, step)] = true;
            }
        for (int32_t t = 0; t < STEPS; t++)
            n += read[t];
        CHECK(dealt->first[i + 1] - dealt->first[i] == n, "row %d has %lld rows, reads %lld", i,
              (long long)(dealt->first[i + 1] - dealt->first[i]), (long long)n);
    }
}

static void check_changes(flip_layout *l) {
    int64_t *at = calloc((size_t)l->n_own + 1, sizeof *at);
    int32_t *step = malloc(((size_t)l->n_own * STEPS + 1) * sizeof *step);
    int32_t *row = malloc(((size_t)l->n_own * STEPS + 1) * sizeof *row);
    flip_lasting_rows dealt;
    int64_t n = 0;
    for (int32_t v = 0; v < l->n_own; at[++v] = n)
        for (int32_t t = 0; t < STEPS; t++) {
            if (!changes(first[rank] + v, t)) continue;
            step[n] = t;
            row[n++] = stamp(first[rank] + v, t, 0);
        }
    const flip_lasting_rows own = {at, step, row};
    CHECK_OK(flip_layout_deal_lasting(l, &own, sizeof *row, &dealt));
    check_dealt(l, &dealt);
    flip_free((void *)dealt.first);
    flip_free((void *)dealt.step);
    flip_free((void *)dealt.rows);
    free(at);
    free(step);
    free(row);
}

/* Rows so long that they travel in several windows. */
static void check_long_rows(void) {
    enum { LONG = 160000 };
    flip_layout *l = open_layout(&(variant){.n_time = size, .n_blocks = 2});
    char *own = calloc((size_t)l->n_own * STEPS + 1, LONG);
    char *out = calloc((size_t)l->n_rows * STEPS + 1, LONG);
    for (int32_t i = 0; i < l->n_own * STEPS; i++) {
        int32_t name = stamp(first[rank] + i / STEPS, i % STEPS, 0);
        memcpy(own + (size_t)i * LONG + LONG - sizeof name, &name, sizeof name);
    }
    CHECK_OK(flip_layout_deal_rows(l, own, LONG, false, out));
    for (int32_t k = 0; k < 2; k++)
        for (int32_t i = 0; i < l->n_rows; i++)
            for (int32_t t = 0, n = flip_layout_steps(l, k); t < n; t++) {
                int32_t name, want = stamp(i, flip_layout_first(l, k) + t, 0);
                size_t row = (size_t)(l->own_before[k] * l->n_rows + i * n + t);
                memcpy(&name, out + row * LONG + LONG - sizeof name, sizeof name);
                CHECK(name == want, "row %d: %d, expected %d", i, name, want);
            }
    free(own);
    free(out);
    flip_layout_destroy(&l);
}

static void test_rows(void **state) {
    (void)state;
    each_variant(check_rows);
    each_variant(check_changes);
    check_long_rows();
}

/* Event i of the whole: node, step, and a weight that names it. */
static flip_gid event_node(int i) {
    return i * 11 % NODES;
}
static int32_t event_step(int i) {
    return i * i % STEPS;
}

static bool touches(const flip_layout *l, int32_t chunk, int32_t step, int32_t stay) {
    for (int32_t t = step; t <= step + stay && t < STEPS; t++)
        if (t >= l->block_first[0] && flip_layout_chunk_of(l, t, NULL) == chunk) return true;
    return false;
}

static void check_events_of(flip_layout *l, int32_t stay, bool bare) {
    flip_gid dst[EVENTS], src[EVENTS];
    int32_t step[EVENTS];
    double weight[EVENTS];
    flip_events own = {.dst = dst,
                       .src = src,
                       .step = bare ? NULL : step,
                       .weight = bare ? NULL : weight},
                dealt;
    for (int i = 0; i < EVENTS; i++) {
        if (event_node(i) < first[rank] || event_node(i) >= first[rank + 1]) continue;
        dst[own.n] = event_node(i);
        src[own.n] = i;
        step[own.n] = event_step(i);
        weight[own.n++] = i + 0.5;
    }
    CHECK_OK(flip_layout_deal_events(l, &own, stay, &dealt));
    CHECK((dealt.step == NULL) == bare && (dealt.weight == NULL) == bare, "columns");
    int64_t n = 0; /* owner after owner, each in the order it had */
    for (int c = 0; c < l->n_time; c++)
        for (int i = 0; i < EVENTS; i++) {
            int owner = l->part * l->n_time + c;
            if (event_node(i) < first[owner] || event_node(i) >= first[owner + 1]) continue;
            int32_t s = bare ? 0 : event_step(i);
            if (!touches(l, l->chunk, s, stay)) continue;
            CHECK(n < dealt.n && dealt.dst[n] == event_node(i) && dealt.src[n] == i,
                  "event %d of %lld", i, (long long)dealt.n);
            CHECK(bare || (dealt.step[n] == s && dealt.weight[n] == i + 0.5), "event %d", i);
            n++;
        }
    CHECK(n == dealt.n, "%lld events, expected %lld", (long long)dealt.n, (long long)n);
    flip_free((void *)dealt.dst);
    flip_free((void *)dealt.src);
    flip_free((void *)dealt.step);
    flip_free((void *)dealt.weight);
}

static void check_events(flip_layout *l) {
    static const int32_t stays[] = {0, 2, STEPS};
    for (int i = 0; i < 3; i++)
        check_events_of(l, stays[i], false);
    check_events_of(l, 1, true);
}

static void test_events(void **state) {
    (void)state;
    each_variant(check_events);
}

/* ---- exchanges ---- */

static flip_real value(flip_gid gid, int32_t step, int32_t j) {
    return (flip_real)flip_random_normal(3, FLIP_STREAM_TEST, (uint64_t)(gid * STEPS + step),
                                         (uint64_t)j);
}

/* Rows from gid `from` on, steps from `step` on. */
static flip_real *block_of(flip_gid from, int32_t rows, int32_t step, int32_t steps, int32_t dim) {
    flip_real *x = malloc(((size_t)rows * (size_t)steps * (size_t)dim + 1) * sizeof *x);
    for (int64_t i = 0; x && i < (int64_t)rows * steps * dim; i++)
        x[i] = value(from + i / dim / steps, step + (int32_t)(i / dim % steps), (int32_t)(i % dim));
    return x;
}

static void equal(const char *what, const flip_real *got, const flip_real *want, int64_t n) {
    CHECK(n == 0 || memcmp(got, want, (size_t)n * sizeof *got) == 0, "%s differs", what);
}

static uint64_t all_bytes(flip_bytes kind) {
    int64_t sum = (int64_t)flip_comm_meter(comm)->bytes[kind];
    CHECK_OK(flip_comm_sum_i64(comm, &sum, 1));
    return (uint64_t)sum;
}

/* w dim sum over chunks of T_p (N - N_p), for every part. */
static uint64_t redistribute_bytes(const flip_layout *l, int32_t k, int32_t dim) {
    uint64_t sum = 0;
    const int32_t *border = l->chunk_first + k * (l->n_time + 1);
    for (int r = 0; r < size; r++) {
        int32_t part = r / l->n_time, c = r % l->n_time;
        int64_t n = l->part_first[part + 1] - l->part_first[part] - (first[r + 1] - first[r]);
        sum += (uint64_t)(n * (border[c + 1] - border[c]));
    }
    return sum * (uint64_t)dim * sizeof(flip_real);
}

/* Two variables of different width go and come back, each slice begun before the last one ends. */
static void check_redistribute_block(flip_layout *l, int32_t k) {
    int32_t from = flip_layout_first(l, k), steps = flip_layout_steps(l, k),
            all = l->block_first[k + 1] - l->block_first[k], dim[2] = {DIM, 1};
    flip_real *x[2], *y[2], *want[2], *back[2];
    uint64_t before = all_bytes(FLIP_BYTES_REDISTRIBUTE);
    for (int i = 0; i < 2; i++) {
        x[i] = block_of(l->part_first[l->part], l->n_rows, from, steps, dim[i]);
        want[i] = block_of(first[rank], l->n_own, l->block_first[k], all, dim[i]);
        y[i] = calloc((size_t)l->n_own * (size_t)(all * dim[i]) + 1, sizeof **y);
        back[i] = calloc((size_t)l->n_rows * (size_t)(steps * dim[i]) + 1, sizeof **y);
        CHECK_OK(flip_layout_to_nodes_begin(l, k, 0, dim[i], x[i]));
    }
    for (int32_t s = 0; s < l->slices; s++) {
        for (int i = 0; i < 2 && s + 1 < l->slices; i++)
            CHECK_OK(flip_layout_to_nodes_begin(l, k, s + 1, dim[i], x[i]));
        CHECK_OK(flip_layout_progress(l));
        for (int i = 0; i < 2; i++)
            CHECK_OK(flip_layout_to_nodes_end(l, y[i]));
        for (int i = 0; i < 2; i++)
            CHECK_OK(flip_layout_to_time_begin(l, k, s, dim[i], y[i], back[i]));
        for (int i = 0; i < 2 && s > 0; i++)
            CHECK_OK(flip_layout_to_time_end(l));
    }
    for (int i = 0; i < 2; i++)
        CHECK_OK(flip_layout_to_time_end(l));
    for (int i = 0; i < 2; i++) {
        equal("node layout", y[i], want[i], (int64_t)l->n_own * all * dim[i]);
        equal("round trip", back[i], x[i], (int64_t)l->n_rows * steps * dim[i]);
        free(x[i]);
        free(y[i]);
        free(want[i]);
        free(back[i]);
    }
    uint64_t sent = all_bytes(FLIP_BYTES_REDISTRIBUTE) - before,
             formula = 2 * redistribute_bytes(l, k, DIM + 1);
    CHECK(sent == formula, "%llu bytes, formula %llu", (unsigned long long)sent,
          (unsigned long long)formula);
}

static void check_redistribute(flip_layout *l) {
    for (int32_t k = 0; k < l->n_blocks; k++)
        check_redistribute_block(l, k);
}

static void test_redistribute(void **state) {
    (void)state;
    each_variant(check_redistribute);
    flip_layout *l = open_layout(&(variant){.n_time = size, .n_blocks = 1, .slices = 2});
    flip_error_clear();
    CHECK(flip_layout_to_time_end(l) == FLIP_ERROR_INTERNAL, "an end without a beginning");
    flip_error_clear();
    flip_layout_destroy(&l);
    /* messages in pieces of 8 bytes */
    flip_comm *whole = comm;
    setenv("FLIP_CHUNK_BYTES", "8", 1);
    CHECK_OK(flip_comm_create(&comm, MPI_COMM_WORLD));
    unsetenv("FLIP_CHUNK_BYTES");
    l = open_layout(&(variant){.n_time = size, .n_blocks = 2, .slices = 3});
    check_redistribute(l);
    check_rows(l);
    flip_layout_destroy(&l);
    flip_comm_destroy(&comm);
    comm = whole;
}

/* A state passes all chunks, each adding its number, block after block, and back. */
static void check_states_way(flip_layout *l, bool forward) {
    uint64_t before = all_bytes(FLIP_BYTES_STATE);
    int32_t last = forward ? l->n_time - 1 : 0, begin = forward ? 0 : l->n_time - 1;
    int32_t step = forward ? 1 : -1;
    size_t n = (size_t)l->n_rows * 2;
    flip_real *state = calloc(n + 1, sizeof *state),
              *sent = calloc(n * (size_t)l->n_blocks + 1, sizeof *state);
    for (int32_t k = 0; k < l->n_blocks; k++) {
        flip_real *next = sent + n * (size_t)k;
        for (int32_t s = 0; s < l->slices; s++) {
            int32_t at, rows;
            flip_layout_slice(l, s, l->n_rows, &at, &rows);
            flip_real *here = state + 2 * at;
            if (l->chunk != begin)
                CHECK_OK(
                    flip_layout_receive_state(l, l->chunk - step, forward, here, 2 * (size_t)rows));
            else if (k > 0 && l->n_time > 1)
                CHECK_OK(flip_layout_receive_wrap(l, forward, here, 2 * (size_t)rows));
            for (int32_t i = 0; i < 2 * rows; i++) {
                flip_real want =
                    (flip_real)(k * l->n_time + (forward ? l->chunk : begin - l->chunk));
                CHECK(here[i] == want, "state %g, expected %g", (double)here[i], (double)want);
                next[2 * at + i] = here[i] + 1;
            }
            if (l->chunk != last)
                CHECK_OK(flip_layout_send_state(l, l->chunk + step, forward, next + 2 * at,
                                                2 * (size_t)rows));
            else if (k + 1 < l->n_blocks && l->n_time > 1)
                CHECK_OK(flip_layout_send_wrap(l, s, forward, next + 2 * at, 2 * (size_t)rows));
        }
        if (l->n_time == 1) memcpy(state, next, n * sizeof *state);
        CHECK_OK(flip_layout_state_end(l));
    }
    CHECK_OK(flip_comm_agree(comm, FLIP_OK)); /* all have received */
    for (int32_t s = 0; s < l->slices; s++)
        CHECK_OK(flip_layout_wrap_end(l, s, forward));
    uint64_t bytes = all_bytes(FLIP_BYTES_STATE) - before;
    uint64_t formula =
        (uint64_t)(NODES * 2) * sizeof(flip_real) *
        (uint64_t)(l->n_blocks * (l->n_time - 1) + (l->n_time > 1 ? l->n_blocks - 1 : 0));
    CHECK(bytes == formula, "%llu bytes, formula %llu", (unsigned long long)bytes,
          (unsigned long long)formula);
    free(state);
    free(sent);
}

static void check_states(flip_layout *l) {
    check_states_way(l, true);
    check_states_way(l, false);
}

static void test_states(void **state) {
    (void)state;
    each_variant(check_states);
}

/* Steps that chunk's window has: from its first - before on. */
static int32_t window_from(const flip_layout *l, int32_t k, int32_t chunk, int32_t before,
                           int32_t *to) {
    const int32_t *border = l->chunk_first + k * (l->n_time + 1) + chunk;
    *to = border[0];
    if (border[0] == border[1]) return *to;
    return *to - before > l->block_first[0] ? *to - before : l->block_first[0];
}

static uint64_t window_bytes(const flip_layout *l, int32_t k, int32_t before, int32_t dim) {
    uint64_t steps = 0;
    for (int32_t c = 0; c < l->n_time; c++) {
        int32_t to, from = window_from(l, k, c, before, &to);
        for (int32_t t = from; t < to; t++)
            steps += flip_layout_chunk_of(l, t, NULL) != c;
        if (l->n_blocks == 1) { /* as the design writes it */
            int32_t begin = to - l->block_first[0];
            bool any = l->chunk_first[c + 1] > l->chunk_first[c];
            CHECK(to - from == (any ? begin < before ? begin : before : 0), "chunk %d", c);
        }
    }
    return steps * (uint64_t)NODES * (uint64_t)dim * sizeof(flip_real);
}

/* A gradient that names the chunk it comes from. */
static double share(int32_t chunk, int32_t k, flip_gid gid, int32_t t, int32_t j) {
    return (double)((chunk + 1) * 1000 + k * 100 + t) + (double)(gid % 5) / 8 + j;
}

static void check_back(flip_layout *l, int32_t k, int32_t before, const flip_real *got,
                       int32_t steps, const int32_t *step_of_row) {
    for (int32_t i = 0; i < l->n_rows; i++)
        for (int32_t s = 0; s < steps; s++)
            for (int32_t j = 0; j < DIM; j++) {
                double want = 0.5;
                for (int32_t c = 0; c < l->n_time; c++) {
                    int32_t to, from = window_from(l, k, c, before, &to);
                    if (step_of_row[s] >= from && step_of_row[s] < to)
                        want += share(c, k, l->part_first[l->part] + i, step_of_row[s], j);
                }
                CHECK((double)got[(i * steps + s) * DIM + j] == want, "row %d step %d: %g, %g", i,
                      step_of_row[s], (double)got[(i * steps + s) * DIM + j], want);
            }
}

static void check_window_block(flip_layout *l, int32_t k, int32_t before) {
    int32_t steps = flip_layout_steps(l, k), own[STEPS], n = 0, to;
    flip_gid base = l->part_first[l->part];
    flip_window w = flip_layout_window_of(l, k, before);
    for (int32_t t = l->block_first[0]; t < l->block_first[k]; t++)
        if (t >= l->block_first[k] - before && flip_layout_chunk_of(l, t, NULL) == l->chunk)
            own[n++] = t;
    CHECK(n == w.n_kept, "%d kept steps, expected %d", w.n_kept, n);
    for (int32_t t = 0; t < steps; t++)
        own[n++] = flip_layout_first(l, k) + t;
    int32_t from = window_from(l, k, l->chunk, before, &to);
    CHECK(w.n == to - from && w.kept_from == l->own_before[k] - w.n_kept, "window of %d", w.n);
    size_t rows = (size_t)l->n_rows * DIM;
    flip_real *kept = malloc((rows * (size_t)w.n_kept + 1) * sizeof *kept);
    for (int32_t i = 0; i < l->n_rows * w.n_kept * DIM; i++)
        kept[i] = value(base + i / DIM / w.n_kept, own[i / DIM % w.n_kept], i % DIM);
    flip_real *x = block_of(base, l->n_rows, flip_layout_first(l, k), steps, DIM);
    flip_real *earlier = calloc(rows * (size_t)w.n + 1, sizeof *earlier);
    flip_real *want = block_of(base, l->n_rows, from, w.n, DIM);
    uint64_t sent = all_bytes(FLIP_BYTES_WINDOW);
    CHECK_OK(flip_layout_window(l, k, before, DIM, kept, x, earlier));
    equal("window", earlier, want, (int64_t)rows * w.n);
    sent = all_bytes(FLIP_BYTES_WINDOW) - sent;
    CHECK(sent == window_bytes(l, k, before, DIM), "%llu bytes, formula %llu",
          (unsigned long long)sent, (unsigned long long)window_bytes(l, k, before, DIM));

    for (int32_t i = 0; i < l->n_rows * w.n * DIM; i++)
        earlier[i] =
            (flip_real)share(l->chunk, k, base + i / DIM / w.n, from + i / DIM % w.n, i % DIM);
    for (size_t i = 0; i < rows * (size_t)w.n_kept; i++)
        kept[i] = (flip_real)0.5;
    for (size_t i = 0; i < rows * (size_t)steps; i++)
        x[i] = (flip_real)0.5;
    sent = all_bytes(FLIP_BYTES_WINDOW);
    CHECK_OK(flip_layout_window_back(l, k, before, DIM, earlier, kept, x));
    sent = all_bytes(FLIP_BYTES_WINDOW) - sent;
    CHECK(sent == window_bytes(l, k, before, DIM), "back: %llu bytes", (unsigned long long)sent);
    check_back(l, k, before, kept, w.n_kept, own);
    check_back(l, k, before, x, steps, own + w.n_kept);
    free(kept);
    free(x);
    free(earlier);
    free(want);
}

static void check_windows(flip_layout *l) {
    static const int32_t befores[] = {0, 1, 3, STEPS + 2};
    for (int i = 0; i < 4; i++)
        for (int32_t k = 0; k < l->n_blocks; k++)
            check_window_block(l, k, befores[i]);
}

static void test_windows(void **state) {
    (void)state;
    each_variant(check_windows);
}

int main(int argc, char **argv) {
    int provided;
    MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &provided);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    CHECK_OK(flip_comm_create(&comm, MPI_COMM_WORLD));
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shape),   cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_rows),    cmocka_unit_test(test_events),
        cmocka_unit_test(test_states),  cmocka_unit_test(test_redistribute),
        cmocka_unit_test(test_windows),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    flip_comm_destroy(&comm);
    MPI_Finalize();
    return failed;
}
