/* golden: every case of a golden folder that Flipbook has an operator for, through the tape, the
 * models and the adjacencies as training uses them. FLIP_GOLDEN names the folder; else
 * $FLIP_SHARED/golden. Sizes and settings come from case.json. */
#include "golden.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* ---- the table and the run ---- */

static const struct {
    const char *name; /* a trailing * matches the rest */
    void (*run)(golden *g);
    const char *later; /* why it is skipped */
} cases[] = {
    {"op_linear", case_linear, NULL},
    {"op_spmm_sum", case_spmm_sum, NULL},
    {"op_spmm_mean", case_spmm_mean, NULL},
    {"op_spmm_wmean", case_spmm_wmean, NULL},
    {"op_spmm_gcn", case_spmm_gcn, NULL},
    {"op_spmm_gcn_inout", case_spmm_gcn_inout, NULL},
    {"op_maxpool", case_maxpool, NULL},
    {"op_gat_attention", case_gat_attention, NULL},
    {"op_layer_norm", case_layer_norm, NULL},
    {"op_batch_norm", case_batch_norm, NULL},
    {"op_dropout", case_dropout, NULL},
    {"op_ce_weighted_mean", case_ce_weighted_mean, NULL},
    {"op_ce_sample_mean", case_ce_sample_mean, NULL},
    {"op_link_dot", case_link_dot, NULL},
    {"op_link_mlp", case_link_mlp, NULL},
    {"op_l2_normalise", case_l2_normalise, NULL},
    {"opt_adam", case_adam, NULL},
    {"opt_adam_l2", case_adam, NULL},
    {"opt_adamw", case_adamw, NULL},
    {"opt_sgd_momentum", case_sgd, NULL},
    {"opt_clip_norm", case_clip_norm, NULL},
    {"model_gcn", case_gcn, NULL},
    {"model_sage_mean", case_sage_mean, NULL},
    {"model_sage_mean_l2", case_sage_mean_l2, NULL},
    {"model_sage_pool", case_sage_pool, NULL},
    {"model_gin", case_gin, NULL},
    {"model_gat", case_gat, NULL},
    {"dyn_tmgcn", case_tmgcn, NULL},
    {"prep_*", case_prep, NULL},
    {"train_sage_sbm", case_train_sage, NULL},
    {"op_lstm", case_lstm, NULL},
    {"op_gru", case_gru, NULL},
    {"op_mat_lstm", case_matrix_lstm, NULL},
    {"op_mat_gru", case_matrix_gru, NULL},
    {"op_topk_summary", case_topk_summary, NULL},
    {"dyn_cdgcn", case_cdgcn, NULL},
    {"dyn_evolvegcn_o", case_evolve_o, NULL},
    {"dyn_evolvegcn_o_code", case_evolve_o_code, NULL},
    {"dyn_evolvegcn_h", case_evolve_h, NULL},
    {"train_cdgcn", case_train_cdgcn, NULL},
    {"codec_bifeat", case_codec_bifeat, NULL},
    {"codec_uniform", case_codec_uniform, NULL},
    {"codec_lloyd", case_codec_lloyd, NULL},
    {"codec_pq_*", case_codec_pq, NULL},
};

static bool matches(const char *pattern, const char *name) {
    size_t n = strlen(pattern);
    if (pattern[n - 1] == '*') return strncmp(pattern, name, n - 1) == 0;
    return strcmp(pattern, name) == 0;
}

/* Every tensor that is not an input must have been compared. */
static void check_complete(golden *g) {
    size_t i;
    json_t *entry;
    json_array_foreach(json_object_get(g->json, "tensors"), i, entry) {
        const char *role = json_string_value(json_object_get(entry, "role"));
        if (g->checked[i] || strcmp(role, "input") == 0 || strcmp(role, "parameter") == 0) continue;
        golden_fail(g, "%s was not compared", json_string_value(json_object_get(entry, "name")));
    }
}

typedef struct tally {
    int passed, failed, skipped;
} tally;

static void run_case(const char *folder, const char *name, tally *sum) {
    golden g;
    size_t i = 0;
    while (i < COUNT(cases) && !matches(cases[i].name, name))
        i++;
    if (i < COUNT(cases) && !cases[i].run) {
        printf("skipped %s: not available yet (%s)\n", name, cases[i].later);
        sum->skipped++;
        return;
    }
    if (!golden_open(&g, folder, name)) {
        printf("FAILED  %s: case.json cannot be read\n", name);
        sum->failed++;
        return;
    }
    if (i == COUNT(cases))
        golden_fail(&g, "no operator runs this case");
    else
        cases[i].run(&g);
    if (g.failures == 0) check_complete(&g);
    if (g.failures)
        printf("FAILED  %s: %s\n", name, g.why);
    else
        printf("passed  %s: %d comparisons\n", name, g.compared);
    sum->passed += g.failures == 0;
    sum->failed += g.failures != 0;
    golden_close(&g);
}

static int is_case(const struct dirent *entry) {
    return entry->d_name[0] != '.' && !strchr(entry->d_name, '.');
}

int main(void) {
    char folder[4000];
    const char *given = getenv("FLIP_GOLDEN"), *shared = getenv("FLIP_SHARED");
    snprintf(folder, sizeof folder, "%s%s",
             given    ? given
             : shared ? shared
                      : FLIP_SHARED_DEFAULT,
             given ? "" : "/golden");
    struct dirent **names = NULL;
    int n = scandir(folder, &names, is_case, alphasort);
    if (n < 1) {
        printf("skipped: no golden cases in '%s'; set FLIP_GOLDEN to their folder\n", folder);
        return 77;
    }
    tally sum = {0, 0, 0};
    printf("%s build, %s\n", FLIP_REAL_NAME, folder);
    for (int i = 0; i < n; i++) {
        run_case(folder, names[i]->d_name, &sum);
        free(names[i]);
    }
    free(names);
    printf("%d passed, %d failed, %d skipped\n", sum.passed, sum.failed, sum.skipped);
    return sum.failed == 0 && sum.passed > 0 ? 0 : 1;
}
