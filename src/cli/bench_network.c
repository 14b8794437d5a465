/* A payment network for bench transfer, drawn in memory: every event by its number, so that all
 * threads draw at once. */
#include "cli/bench.h"

#include <math.h>

enum { REGION = 200, MOST_PARTNERS = 5 };

/* In the manner of `generate payments`: an account pays its 2 to 5 regular partners (60 of 100
 * payments), well-known accounts of its region (32) and of others (8); amounts are lognormal. */
static flip_gid known(const flip_bench_network *x, int64_t region, double u) {
    const int64_t size = (x->n - region + x->regions - 1) / x->regions;
    return region + (int64_t)((double)size * u * u) * x->regions;
}

static double unit(uint32_t word) {
    return word * 0x1p-32;
}

/* Event i: who pays is drawn like all else, so that any thread makes any event. */
static void make_event(flip_bench_network *x, int64_t i, int32_t step) {
    const flip_random4 r = flip_random(1, FLIP_STREAM_GENERATE, 0, (uint64_t)i),
                       q = flip_random(1, FLIP_STREAM_GENERATE, 1, (uint64_t)i);
    /* low numbers pay more */
    const int64_t payer = (int64_t)((double)x->n * unit(r.v[0]) * sqrt(unit(r.v[0])));
    int64_t region = payer % x->regions;
    double u = unit(r.v[2]);
    if (unit(r.v[1]) < .6) {
        const int64_t partner = (int64_t)(u * (double)(2 + payer % (MOST_PARTNERS - 1)));
        u = flip_random_uniform(2, FLIP_STREAM_GENERATE, (uint64_t)partner, (uint64_t)payer);
    } else if (unit(r.v[1]) > .92) {
        region = (int64_t)(unit(q.v[2]) * (double)x->regions);
    }
    x->src[i] = payer;
    x->dst[i] = known(x, region, u);
    x->step[i] = step;
    x->weight[i] = exp(-.5 + .9 * (unit(q.v[0]) + unit(q.v[1]) - 1) * 2.449);
}

flip_status flip_bench_network_init(flip_bench_network *x, const flip_bench *b) {
    const int64_t a_step = (int64_t)((double)b->accounts * b->payments);
    *x = (flip_bench_network){.n = b->accounts,
                              .regions = b->accounts / REGION > 1 ? b->accounts / REGION : 1,
                              .n_events = a_step * b->steps};
    const size_t n = (size_t)x->n_events;
    FLIP_TRY(flip_alloc(&x->dst, n, sizeof *x->dst, "payments"));
    FLIP_TRY(flip_alloc(&x->src, n, sizeof *x->src, "payments"));
    FLIP_TRY(flip_alloc(&x->step, n, sizeof *x->step, "payments"));
    FLIP_TRY(flip_alloc(&x->weight, n, sizeof *x->weight, "payments"));
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < x->n_events; i++)
        make_event(x, i, (int32_t)(i / a_step));
    return FLIP_OK;
}

void flip_bench_network_finish(flip_bench_network *x) {
    flip_free(x->dst);
    flip_free(x->src);
    flip_free(x->step);
    flip_free(x->weight);
    *x = (flip_bench_network){0};
}
