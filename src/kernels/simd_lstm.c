/* An LSTM's products and cells in one pass, in vectors.
 *
 * A tile of ROWS rows meets a panel, the four gates' weights of LANES hidden units, in registers:
 * when the sums are done a cell has all it needs there, and gates that nobody keeps are never
 * written. A strip of rows goes through all steps, so that each of its arrays is read and written
 * as one stretch of memory; the panels stay in the caches:
 *
 *     step t of a strip:  [x x2 h] rows 0-5    ─▶ panel 0 ─▶ cells ─▶ c, h (next step's operand)
 *                         [x x2 h] rows 6-11   ─▶ panel 0 ─▶ …
 *                         …                       panel 1
 *
 * Every sum runs over the columns upwards, x before x2 before h, whatever the strip. */
#include "kernels/simd_lstm.h"

#ifdef __AVX512F__
enum { ROWS = 6 }; /* 24 sums, 6 of A, 1 of B in 32 registers */
#else
enum { ROWS = 3 }; /* 12 sums, 3 of A, 1 of B in 16 registers */
#endif
enum { TERMS = 3 /* x, x2, h */, STRIP = 24 /* rows */ };

/* ---- weights -------------------------------------------------------------------------------- */

static int64_t panel_values(const int64_t dim[2], int64_t hidden) {
    return (words_of(dim[0]) + words_of(dim[1]) + words_of(hidden)) * GATES * LANES;
}

static int64_t packed_values(const int64_t dim[2], int64_t hidden) {
    return (hidden + LANES - 1) / LANES * panel_values(dim, hidden);
}

/* Values of a staged row: each term's in whole vectors. */
static int64_t staged_values(const int64_t dim[2], int64_t hidden) {
    const int64_t k[TERMS] = {dim[0], dim[1], hidden};
    int64_t values = APART;
    for (int s = 0; s < TERMS; s++)
        values += (words_of(k[s]) + LANES - 1) / LANES * LANES;
    return values;
}

static int64_t work_values(const int64_t dim[2], int64_t hidden) {
    const int64_t forward = STRIP * staged_values(dim, hidden), back = lstm_back_work(hidden);
    return forward > back ? forward : back;
}

static void pack_all(const int64_t dim[2], int64_t hidden, const float *weight, float *to,
                     bool rounded) {
    const int64_t k[TERMS] = {dim[0], dim[1], hidden}, width = GATES * hidden;
    for (int64_t j = 0; j < hidden; j += LANES) {
        const float *row = weight + j;
        for (int s = 0; s < TERMS; row += k[s++] * width)
            for (int64_t l = 0; l < k[s]; l += PAIR)
                for (int c = 0; c < GATES; c++, to += LANES)
                    v_store(to, load_words(rounded, row + l * width + c * hidden, width,
                                           l + 1 < k[s], hidden - j));
    }
}

/* ---- a tile --------------------------------------------------------------------------------- */

/* Where a step of a tile's rows stands; from row to row as the blocks tell. */
typedef struct place {
    const float *bias, *before; /* or NULL */
    float *c, *y, *gates;       /* gates or NULL */
    int64_t before_row;
    bool stream; /* gates past the caches */
} place;

/* The cells of some rows: gate by gate, the rows side by side. */
INLINE void cells(const int rows, const bool whole, const flip_lstm_rows *p, vec sum[GATES][ROWS],
                  const place *at, lanes_mask some) {
    const int64_t n = p->hidden;
    UNROLL for (int c = 0; c < GATES; c++) {
        if (at->bias) {
            const float *bias = at->bias + c * n;
            UNROLL for (int r = 0; r < rows; r++) sum[c][r] =
                v_add(sum[c][r], v_load_of(whole, some, bias + r * p->bias_step));
        }
        if (c == 2)
            v_tanh_of(rows, sum[c]);
        else
            v_sigmoid_of(rows, sum[c]);
        if (at->gates) {
            float *gate = at->gates + c * n;
            UNROLL for (int r = 0; r < rows; r++) if (at->stream)
                v_stream(gate + r * p->gates.row, sum[c][r]);
            else v_store_of(whole, some, gate + r * p->gates.row, sum[c][r]);
        }
    }
    UNROLL for (int r = 0; r < rows; r++) {
        vec old = at->before ? v_load_of(whole, some, at->before + r * at->before_row) : v_zero();
        sum[0][r] = v_fma(sum[1][r], old, v_mul(sum[0][r], sum[2][r]));
        v_store_of(whole, some, at->c + r * p->c.row, sum[0][r]);
    }
    v_tanh_of(rows, sum[0]);
    UNROLL for (int r = 0; r < rows; r++)
        v_store_of(whole, some, at->y + r * p->y.row, v_mul(sum[3][r], sum[0][r]));
}

/* Rows i … of a strip against a panel; `rows` and `whole` are known when compiling. */
INLINE void meet(const int rows, const bool whole, const flip_lstm_rows *p, const term *terms,
                 const float *panel, int64_t i, place at, lanes_mask some) {
    vec sum[GATES][ROWS];
    UNROLL for (int c = 0; c < GATES; c++) {
        UNROLL for (int r = 0; r < rows; r++) sum[c][r] = v_zero();
    }
    for (const term *t = terms; t < terms + TERMS; t++) {
        const float *a = t->at + i * t->row;
        const int64_t row = t->row;
        for (int64_t l = t->words; l > 0; l--, a++, panel += GATES * LANES) {
            vec left[ROWS];
            UNROLL for (int r = 0; r < rows; r++) left[r] = v_set(a[r * row]);
            UNROLL for (int c = 0; c < GATES; c++) {
                vec right = v_load(panel + c * LANES);
                UNROLL for (int r = 0; r < rows; r++) sum[c][r] =
                    v_multiply_add(left[r], right, sum[c][r]);
            }
        }
    }
    cells(rows, whole, p, sum, &at, some);
}

typedef void (*tile)(const flip_lstm_rows *, const term *, const float *, int64_t, place,
                     lanes_mask);
#define TILE(rows, name, whole)                                                                    \
    static void name##_##rows(const flip_lstm_rows *p, const term *terms, const float *panel,      \
                              int64_t i, place at, lanes_mask some) {                              \
        meet(rows, whole, p, terms, panel, i, at, some);                                           \
    }
#define TILES(rows) TILE(rows, whole, true) TILE(rows, part, false)
TILES(1)
TILES(2)
TILES(3)
#ifdef __AVX512F__
TILES(4)
TILES(5)
TILES(6)
static const tile tiles[2][ROWS] = {{part_1, part_2, part_3, part_4, part_5, part_6},
                                    {whole_1, whole_2, whole_3, whole_4, whole_5, whole_6}};
#else
static const tile tiles[2][ROWS] = {{part_1, part_2, part_3}, {whole_1, whole_2, whole_3}};
#endif

/* ---- strips --------------------------------------------------------------------------------- */

/* What rows first … multiply at step t, where it lies. Before the first step nothing may be there.
 */
static void find_terms(const flip_lstm_rows *p, int64_t first, int64_t t, term *terms) {
    for (int s = 0; s < 2; s++)
        if (p->dim[s] > 0)
            terms[s] = (term){at_step(&p->x[s], first, t), p->x[s].row, p->dim[s]};
        else
            terms[s] = (term){NULL, 0, 0};
    if (t > 0)
        terms[2] = (term){at_step(&p->y, first, t - 1), p->y.row, p->hidden};
    else if (p->h_before.at)
        terms[2] = (term){at_step(&p->h_before, first, 0), p->h_before.row, p->hidden};
    else
        terms[2] = (term){NULL, 0, 0};
}

/* The same copied together: rounded, or off cache sets 4 KB apart. */
static void stage_terms(const flip_lstm_rows *p, bool rounded, int64_t rows, term *terms) {
    const int64_t step = staged_values(p->dim, p->hidden);
    float *to = p->work;
    for (int s = 0; s < TERMS; s++) {
        const int64_t words = words_of(terms[s].words);
        for (int64_t r = 0; r < rows && words > 0; r++)
            stage_words(rounded, to + r * step, terms[s].at + r * terms[s].row, terms[s].words);
        terms[s] = (term){to, step, words};
        to += (words + LANES - 1) / LANES * LANES;
    }
}

static place find_place(const flip_lstm_rows *p, bool stream, int64_t i, int64_t t, int64_t j) {
    const flip_lstm_block *before = t > 0 ? &p->c : &p->c_before;
    return (place){.bias = p->bias ? p->bias + i * p->bias_step + j : NULL,
                   .before = before->at ? at_step(before, i, t > 0 ? t - 1 : 0) + j : NULL,
                   .before_row = before->row,
                   .stream = stream && j + LANES <= p->hidden,
                   .c = p->c.at + i * p->c.row + t * p->c.step + j,
                   .y = p->y.at + i * p->y.row + t * p->y.step + j,
                   .gates =
                       p->gates.at ? p->gates.at + i * p->gates.row + t * p->gates.step + j : NULL};
}

/* Cache line `part`, `part` + parts, … of some rows of `columns` values. */
INLINE void ask_rows(const flip_lstm_block *b, int64_t first, int64_t rows, int64_t t,
                     int64_t columns, int64_t part, int64_t parts) {
    for (int64_t i = first; i < first + rows && columns > 0; i++)
        for (int64_t l = part * LINE; l < columns; l += parts * LINE)
            _mm_prefetch((const char *)(at_step(b, i, t) + l), _MM_HINT_T1);
}

/* The next strip's rows, a share with each tile of this one: rows lie too far apart for the machine
 * to guess. */
INLINE void ask_next(const flip_lstm_rows *p, int64_t i, int64_t rows, int64_t t, int64_t j) {
    const int64_t first = i + STRIP, parts = (p->hidden + LANES - 1) / LANES, part = j / LANES;
    rows = flip_min64(rows, p->m - first);
    for (int s = 0; s < 2; s++)
        ask_rows(&p->x[s], first, rows, t, p->dim[s], part, parts);
    ask_rows(&p->y, first, rows, t, p->hidden, part, parts);
    ask_rows(&p->c, first, rows, t, p->hidden, part, parts);
}

typedef struct way {
    bool rounded, staged, stream;
} way;

/* Rows first … first+rows-1, at most STRIP, at step t. */
static void strip(const flip_lstm_rows *p, way way, int64_t first, int64_t rows, int64_t t) {
    term terms[TERMS];
    const int64_t panel_size = panel_values(p->dim, p->hidden);
    const float *panel = p->packed;
    find_terms(p, first, t, terms);
    if (way.staged) stage_terms(p, way.rounded, rows, terms);
    for (int64_t j = 0; j < p->hidden; j += LANES, panel += panel_size) {
        const int64_t lanes = flip_min64(LANES, p->hidden - j);
        for (int64_t r = 0; r < rows; r += ROWS) {
            const int64_t height = flip_min64(ROWS, rows - r);
            ask_next(p, first + r, height, t, j);
            tiles[lanes == LANES][height - 1](
                p, terms, panel, r, find_place(p, way.stream, first + r, t, j), v_first(lanes));
        }
    }
}

static bool shares_sets(const flip_lstm_block *b) {
    return b->at && b->row % SAME_SET == 0;
}

static bool on_lines(const flip_lstm_rows *p) {
    return (uintptr_t)p->gates.at % (LINE * sizeof(float)) == 0 && p->hidden % LINE == 0;
}

static void all_strips(const flip_lstm_rows *p, bool rounded) {
    const way way = {.rounded = rounded,
                     .staged = rounded || shares_sets(&p->x[0]) || shares_sets(&p->x[1]) ||
                               shares_sets(&p->y) || shares_sets(&p->h_before),
                     .stream = p->stream && p->gates.at && on_lines(p)};
    for (int64_t i = 0; i < p->m; i += STRIP)
        for (int64_t t = 0; t < p->steps; t++)
            strip(p, way, i, flip_min64(STRIP, p->m - i), t);
    if (way.stream) _mm_sfence();
}

static void pack_back_bf16(int64_t hidden, const float *turned, int64_t row, float *packed) {
    lstm_pack_back(hidden, turned, row, packed, true);
}

static void backward_bf16(const flip_lstm_cells *p) {
    lstm_back(p, true);
}

static void pack_bf16(const int64_t dim[2], int64_t hidden, const float *weight, float *packed) {
    pack_all(dim, hidden, weight, packed, true);
}

static void forward_bf16(const flip_lstm_rows *p) {
    all_strips(p, true);
}

static const flip_lstm_kernels rounded = {packed_values,  lstm_back_values, work_values,  pack_bf16,
                                          pack_back_bf16, forward_bf16,     backward_bf16};

#ifdef __AVX512BF16__
void flip_use_lstm_bf16(flip_kernels *table) {
    table->lstm[1] = &rounded;
}
#else
static void pack(const int64_t dim[2], int64_t hidden, const float *weight, float *packed) {
    pack_all(dim, hidden, weight, packed, false);
}

static void pack_back(int64_t hidden, const float *turned, int64_t row, float *packed) {
    lstm_pack_back(hidden, turned, row, packed, false);
}

static void forward(const flip_lstm_rows *p) {
    all_strips(p, false);
}

static void backward(const flip_lstm_cells *p) {
    lstm_back(p, false);
}

static const flip_lstm_kernels exact = {packed_values, lstm_back_values, work_values, pack,
                                        pack_back,     forward,          backward};

void SIMD_NAME(flip_use_lstm)(flip_kernels *table) {
    table->lstm[0] = &exact;
    table->lstm[1] = &rounded;
}
#endif
