/* How often rows are read: an epoch's batches drawn without training (GNNLab, EuroSys'22). */
#include "internal.h"

#include <string.h>

/* ids of other ranks to their owners, which count them. */
static flip_status count_remote(flip_sampler *s, const flip_batch *b, double *heat) {
    flip_status status;
    size_t size = (size_t)s->size;
    int64_t *to = NULL, n = 0;
    flip_gid *sorted = NULL, *received = NULL;
    FLIP_TRY_GOTO(flip_alloc_zero(&to, size + 1, sizeof *to, "counts of rows"));
    FLIP_TRY_GOTO(flip_alloc(&sorted, (size_t)b->n_input, sizeof *sorted, "rows of a batch"));
    for (int r = 0; r < s->size; r++)
        for (int32_t i = 0; i < b->n_input; i++) {
            flip_gid id = b->input[i];
            bool own = id >= s->first && id < s->first + s->n_own;
            if (own || id < s->rank_first[r] || id >= s->rank_first[r + 1]) continue;
            sorted[n++] = id;
            to[r]++;
        }
    FLIP_TRY_GOTO(flip_comm_deal(s->comm, &received, &n, NULL, sorted, to, sizeof *sorted));
    for (int64_t i = 0; i < n; i++)
        heat[received[i] - s->first]++;
done:
    flip_free(to);
    flip_free(sorted);
    flip_free(received);
    return status;
}

flip_status flip_sampler_count(flip_sampler *s, const flip_batch *b, double *heat) {
    if (s->p.in_place) return FLIP_FAIL(FLIP_ERROR_INTERNAL, "rows in place are not told apart");
    for (int32_t i = 0; i < b->n_input; i++)
        if (b->input[i] >= s->first && b->input[i] < s->first + s->n_own)
            heat[b->input[i] - s->first]++;
    return s->size > 1 ? count_remote(s, b, heat) : FLIP_OK;
}

flip_status flip_sampler_heat(flip_sampler *s, flip_batches *batches, const flip_gid *seed,
                              int64_t epoch, double *heat) {
    flip_status status;
    flip_batch *b = NULL;
    flip_gid *ids = NULL;
    int64_t *original = NULL;
    memset(heat, 0, (size_t)s->n_own * sizeof *heat);
    if (s->p.in_place) return FLIP_FAIL(FLIP_ERROR_INTERNAL, "rows in place are not told apart");
    FLIP_TRY_GOTO(flip_batch_create(&b));
    FLIP_TRY_GOTO(flip_batches_shuffle(batches, s->p.seed, epoch));
    FLIP_TRY_GOTO(flip_alloc(&ids, (size_t)batches->n_mine, sizeof *ids, "seeds"));
    FLIP_TRY_GOTO(flip_alloc(&original, (size_t)batches->n_mine, sizeof *original, "seeds"));
    for (int64_t k = 0; k < batches->n_batches; k++) {
        int64_t first = batches->first[k], n = batches->first[k + 1] - first;
        for (int64_t i = 0; i < n; i++) {
            ids[i] = seed[batches->item[first + i]];
            original[i] = s->original[ids[i] - s->first];
        }
        FLIP_TRY_GOTO(flip_sampler_draw(s, b, (int32_t)n, ids, original, NULL, epoch));
        FLIP_TRY_GOTO(flip_sampler_count(s, b, heat));
    }
done:
    flip_free(ids);
    flip_free(original);
    flip_batch_destroy(&b);
    return status;
}
