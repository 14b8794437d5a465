/* Draws for own rows: what the kernels' draws are made of, and their room. */
#include "internal.h"

#include <omp.h>

/* r_u of every column at every hop of this epoch. */
static flip_status share_chances(flip_sampler *s, int64_t epoch) {
    size_t n = (size_t)s->n_cols;
    if (s->chance && s->chance_epoch == epoch) return FLIP_OK;
    if (!s->chance)
        FLIP_TRY(
            flip_alloc(&s->chance, (size_t)s->p.layers * n, sizeof *s->chance, "draws of sources"));
    s->chance_epoch = epoch;
    sample_share_chances(s, flip_kernels_get(), s->original, epoch, s->chance);
    return FLIP_OK;
}

void sample_share_chances(const flip_sampler *s, const flip_kernels *k, const int64_t *original,
                          int64_t epoch, float *chance) {
    for (int32_t hop = 0; hop < s->p.layers; hop++)
        k->share_chances(s->n_cols, original, s->p.seed, (uint64_t)epoch << 8 | 128 | (uint64_t)hop,
                         chance + (size_t)hop * (size_t)s->n_cols);
}

flip_draws sample_draws(const flip_sampler *s, int32_t hop, int64_t epoch) {
    const bool values = sample_has_values(s);
    return (flip_draws){.life = s->p.life,
                        .row_ptr = s->row_ptr,
                        .col = s->col,
                        .step = s->step,
                        .weight = s->weight,
                        .weight_sums = s->weight_sums,
                        .original = s->original,
                        .factor = values ? s->factor : NULL,
                        .factor_v = values ? s->factor_v : NULL,
                        .looped = s->looped,
                        .replace = s->p.replace,
                        .by_weight = s->p.kind == FLIP_SAMPLE_WEIGHTED,
                        .recent = s->p.recent,
                        .sums = s->p.adjacency == FLIP_ADJACENCY_SUM,
                        .fanout = s->p.fanout[hop],
                        .seed = s->p.seed,
                        .draw = (uint64_t)epoch << 8 | (uint64_t)hop};
}

flip_status sample_keys(flip_arena *arena, const flip_draws *d, double **out) {
    const size_t n = d->by_weight && d->fanout > 0 ? (size_t)d->fanout : 0;
    *out = NULL;
    return n == 0 ? FLIP_OK
                  : flip_arena_alloc(arena, out, (size_t)omp_get_max_threads() * n, sizeof **out);
}

flip_status sample_rows(flip_sampler *s, flip_arena *arena, drawn *out, int32_t n,
                        const int32_t *row, const int32_t *step, int32_t hop, int64_t epoch) {
    const flip_kernels *k = flip_kernels_get();
    flip_draws d = sample_draws(s, hop, epoch);
    double *keys;
    d.n = n;
    d.row = row;
    d.before = step;
    *out = (drawn){0};
    if (s->p.kind == FLIP_SAMPLE_LABOR) {
        FLIP_TRY(share_chances(s, epoch));
        d.chance = s->chance + (size_t)hop * (size_t)s->n_cols;
    }
    FLIP_TRY(flip_arena_alloc(arena, &out->first, (size_t)n + 1, sizeof *out->first));
    k->count_draws(&d, out->first, NULL);
    size_t entries = (size_t)out->first[n];
    FLIP_TRY(flip_arena_alloc(arena, &out->col, entries, sizeof *out->col));
    if (sample_has_values(s))
        FLIP_TRY(flip_arena_alloc(arena, &out->value, entries, sizeof *out->value));
    if (sample_has_scales(s))
        FLIP_TRY(flip_arena_alloc(arena, &out->scale, (size_t)n, sizeof *out->scale));
    FLIP_TRY(sample_keys(arena, &d, &keys));
    k->draw_entries(&d,
                    &(flip_drawn){.first = out->first,
                                  .col = out->col,
                                  .value = out->value,
                                  .scale = out->scale,
                                  .key = keys},
                    NULL);
    return FLIP_OK;
}
