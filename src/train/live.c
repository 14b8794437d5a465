/* Live updates (ROLAND: You, Du, Leskovec, KDD 2022, section 3.3): steps arrive one after the
 * other, each is scored before it is learned. For each step t
 *
 *     score       the pairs of t+1 from the embeddings of t, by the model that has learned the
 *                 steps before
 *     hold out    a tenth of these pairs, both directions of a pair together
 *     learn       the others, at most --epochs times, until the loss of the held-out ones has not
 *                 fallen for --patience epochs; the parameters where it was least are kept, those
 *                 of before included
 *     states      of the recurrent parts at the end of t, anew with these parameters
 *
 * States at a step's beginning are constants: gradients reach no earlier step, and the memory is
 * that of one. The optimiser begins anew at each step, as in ROLAND's code. */
#include "train/internal.h"

#include <math.h>
#include <string.h>

enum { LEARNED = 90 }; /* percent of a step's pairs; the others are held out */

/* Pairs of `part` among the block's, with their non-edges. number: of the draw. */
static flip_status draw(flip_trainer *trainer, flip_part part, int32_t block, uint64_t number) {
    flip_data *data = &trainer->data;
    const flip_settings *s = &data->s;
    bool test = part == FLIP_PART_TEST;
    flip_draw d = {.per_pair = test ? s->eval_negatives : s->negatives,
                   .seed = (uint64_t)s->seed,
                   .draw = number,
                   .lead = data->lead,
                   .ends = test ? FLIP_ENDS_DESTINATION : s->negative_ends,
                   .target = flip_layout_first(data->layout, block) + data->lead};
    return flip_links_sample(&data->links, &data->set[part], data->layout, part, &d);
}

/* ---- the step's pairs: all for the test, then by lot ---- */

/* counts [FLIP_PARTS] of all ranks. */
static flip_status deal_parts(flip_data *data, int32_t target, bool learn, int64_t *counts) {
    flip_links *links = &data->links;
    int64_t first, end;
    memset(counts, 0, FLIP_PARTS * sizeof *counts);
    flip_links_of_target(links, target, &first, &end);
    for (int64_t i = first; i < end; i++) {
        uint64_t key = flip_pair_key(links->u_original[i], links->v_original[i], links->n_nodes);
        uint64_t seed = (uint64_t)data->s.seed + (uint64_t)target;
        links->part[i] =
            (int8_t)(learn ? flip_part_drawn(seed, key, LEARNED, 100 - LEARNED) : FLIP_PART_TEST);
        counts[links->part[i]]++;
    }
    return flip_comm_sum_i64(data->comm, counts, FLIP_PARTS);
}

/* ---- scores ---- */

/* The block's pairs of `part`, by the current parameters. */
static flip_status take_scores(flip_trainer *trainer, flip_scores *scores, int32_t block,
                               int wanted) {
    flip_var y;
    FLIP_TRY(flip_scores_begin(scores, trainer, wanted));
    FLIP_TRY(flip_trainer_forward(trainer, block, &y));
    return flip_scores_block(scores, trainer, block, y);
}

static flip_status test(flip_live *live, flip_trainer *trainer, int32_t block, int64_t n_pairs) {
    flip_scores scores = {0};
    flip_status status;
    if (trainer->data.s.eval_negatives != FLIP_EVAL_ALL)
        FLIP_TRY(draw(trainer, FLIP_PART_TEST, block, FLIP_DRAW_EVALUATE));
    FLIP_TRY_GOTO(take_scores(trainer, &scores, block, 1 << FLIP_PART_TEST));
    FLIP_TRY_GOTO(flip_scores_links(&live->scores, &trainer->data, &scores, FLIP_PART_TEST));
    live->scores.true_pairs = n_pairs;
done:
    flip_scores_finish(&scores);
    return status;
}

static flip_status held_loss(flip_trainer *trainer, int32_t block, double *loss) {
    flip_scores scores = {0};
    flip_status status;
    FLIP_TRY_GOTO(take_scores(trainer, &scores, block, 1 << FLIP_PART_VALID | FLIP_SCORE_ITEMS));
    FLIP_TRY_GOTO(flip_scores_loss(&scores.part[FLIP_PART_VALID], trainer->data.comm, loss));
done:
    flip_scores_finish(&scores);
    return status;
}

/* ---- learning a step ---- */

/* Epochs until the held-out loss falls no more; the parameters end as the best. Without held-out
 * pairs, as the last. */
static flip_status learn(flip_live *live, flip_trainer *trainer, int32_t block) {
    const flip_settings *s = &trainer->data.s;
    int64_t best_at = 0;
    double held;
    FLIP_TRY(draw(trainer, FLIP_PART_VALID, block, FLIP_DRAW_EVALUATE));
    FLIP_TRY(flip_trainer_restart(trainer));
    FLIP_TRY(held_loss(trainer, block, &live->held));
    flip_trainer_keep(trainer);
    while (live->epochs < s->epochs && (!s->patience || live->epochs - best_at < s->patience)) {
        FLIP_TRY(draw(trainer, FLIP_PART_TRAIN, block, (uint64_t)trainer->epoch + 1));
        FLIP_TRY(flip_trainer_update(trainer, block));
        live->epochs++;
        live->loss = trainer->loss;
        FLIP_TRY(held_loss(trainer, block, &held));
        if (held >= live->held) continue; /* NaN is none to compare */
        live->held = held;
        best_at = live->epochs;
        flip_trainer_keep(trainer);
    }
    flip_trainer_swap(trainer);
    return FLIP_OK;
}

flip_status flip_live_begin(flip_live *live, flip_trainer *trainer) {
    flip_links *links = &trainer->data.links;
    memset(live, 0, sizeof *live);
    flip_trainer_begin(trainer);
    memset(links->part, -1, (size_t)links->n); /* a step's are dealt out when it comes */
    return flip_link_steps_create(&live->steps, trainer->data.steps);
}

void flip_live_finish(flip_live *live) {
    flip_link_steps_finish(&live->steps);
}

flip_status flip_live_step(flip_live *live, flip_trainer *trainer, int32_t block) {
    flip_data *data = &trainer->data;
    int32_t step = flip_layout_first(data->layout, block);
    int64_t counts[FLIP_PARTS];
    flip_var y;
    live->step = step;
    live->epochs = 0;
    live->loss = live->held = NAN;
    live->scores = (flip_link_scores){NAN, NAN, {NAN, NAN}, 0};
    FLIP_TRY(deal_parts(data, step + data->lead, false, counts));
    if (counts[FLIP_PART_TEST] > 0) FLIP_TRY(test(live, trainer, block, counts[FLIP_PART_TEST]));
    if (flip_comm_rank(data->comm) == 0) live->steps.at[step] = live->scores;
    FLIP_TRY(deal_parts(data, step + data->lead, true, counts));
    if (counts[FLIP_PART_TRAIN] > 0) FLIP_TRY(learn(live, trainer, block));
    flip_carry_forget(trainer->carry, block + 1);
    return flip_trainer_forward(trainer, block, &y);
}

flip_status flip_live_result(const flip_live *live, flip_trainer *trainer, flip_result *result) {
    const flip_data *data = &trainer->data;
    flip_link_scores none = {NAN, NAN, {NAN, NAN}, 0};
    result->link[FLIP_PART_TRAIN] = result->link[FLIP_PART_VALID] = none;
    result->train = result->valid = NAN;
    FLIP_TRY(flip_link_steps_mean(&result->link[FLIP_PART_TEST], &live->steps, data->comm));
    result->test = flip_link_scores_metric(&result->link[FLIP_PART_TEST], &data->metric);
    snprintf(result->metric, sizeof result->metric, "%s", data->s.metric);
    flip_link_candidates(data, result->candidates, sizeof result->candidates);
    flip_link_definition(data, result->definition, sizeof result->definition);
    return FLIP_OK;
}
