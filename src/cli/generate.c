/* flipbook generate sbm|rmat|products|payments -o g.h5 */
#include "cli/commands.h"
#include "cli/options.h"

#include <flipbook/generate.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

const char flip_help_generate[] =
    "Usage: flipbook generate sbm|rmat|products|payments -o FILE [options]\n"
    "\n"
    "Writes a seeded synthetic graph; the same options give the same bytes, whatever the number\n"
    "of ranks (mpirun -n P flipbook generate … shares the work).\n"
    "\n"
    "All kinds:\n"
    "  -o FILE               the container to write\n"
    "  --seed S              default 0\n"
    "  --nodes N             sbm 10000, rmat 16384, payments 20000\n"
    "  --steps T             1 = static; payments: 60\n"
    "  --features F          columns, 0 = none; 16, payments: 8\n"
    "  --signal X            how far apart classes are, in units of noise; 0.4, payments: 0.45\n"
    "  --train X --valid X   shares of the nodes, the rest is test; .2 .2, payments: .5 .2\n"
    "  --splits S            independent draws of them; 1\n"
    "  --spectrum X          not payments: columns are correlated, principal axis i has variance\n"
    "                        i^-X; 0 = independent; products 1.4\n"
    "\n"
    "sbm: communities (stochastic block model), undirected\n"
    "  --blocks K            10\n"
    "  --degree-in X         average neighbours inside the block, each step; 8\n"
    "  --degree-out X        … and outside; 2\n"
    "  --drift X             chance that a node changes its block, each step; 0\n"
    "  --labels-change       the label follows the block (default: block of the last step)\n"
    "\n"
    "rmat: skewed degrees (recursive matrix), undirected\n"
    "  --edges M             drawn over all steps; 8 a node\n"
    "  --a X --b X --c X     chances of the quarters; .57 .19 .19\n"
    "  --classes K           8\n"
    "  --growth X            each step has (1 + X) times the edges and nodes of the one before; 0\n"
    "  --directed            store one direction\n"
    "\n"
    "products: rmat with the shape of ogbn-products (2,449,029 nodes, 61,859,140 edges both ways,\n"
    "100 columns, 47 classes, 8.03 % train, 1.61 % valid), scaled\n"
    "  --scale X             of nodes and edges; 0.05\n"
    "\n"
    "payments: accounts that pay each other over time, with planted laundering rings\n"
    "  --rings R             one for 130 accounts\n"
    "  --payments X          ordinary payments an account and step; 0.25\n"
    "  --ring-activity X     chance that a ring starts a round, each step; 0.35\n"
    "\n"
    "Example: a payment network of 20,000 accounts and 60 steps, then cut into 8 parts\n"
    "  flipbook generate payments -o payments.h5 --seed 1\n"
    "  flipbook partition payments.h5 -o parts.h5 --parts 8\n";

static const char *const what[] = {"what to generate: sbm, rmat, products or payments"};

/* Rows of the table that every kind has. */
#define COMMON(c)                                                                                  \
    {"-o", FLIP_OPTION_TEXT, &path}, {"--seed", FLIP_OPTION_U64, &(c).seed},                       \
        {"--nodes", FLIP_OPTION_I64, &(c).n_nodes}, {"--steps", FLIP_OPTION_I32, &(c).n_steps},    \
        {"--features", FLIP_OPTION_I32, &(c).n_features},                                          \
        {"--signal", FLIP_OPTION_REAL, &(c).signal}, {"--train", FLIP_OPTION_REAL, &(c).train},    \
        {"--valid", FLIP_OPTION_REAL, &(c).valid}, {                                               \
        "--splits", FLIP_OPTION_I32, &(c).n_splits                                                 \
    }

static flip_status need_path(const char *path, const char *kind) {
    if (path) return FLIP_OK;
    return FLIP_FAIL(FLIP_ERROR_USAGE, "flipbook generate %s needs -o FILE, the file to write",
                     kind);
}

static flip_status generate_sbm(flip_comm *comm, int argc, char **argv, const char **to,
                                flip_generate_counts *counts) {
    flip_sbm_params p = FLIP_SBM_DEFAULTS;
    const char *path = NULL, *word;
    const flip_option table[] = {COMMON(p.common),
                                 {"--spectrum", FLIP_OPTION_REAL, &p.common.spectrum},
                                 {"--blocks", FLIP_OPTION_I32, &p.n_blocks},
                                 {"--degree-in", FLIP_OPTION_REAL, &p.degree_in},
                                 {"--degree-out", FLIP_OPTION_REAL, &p.degree_out},
                                 {"--drift", FLIP_OPTION_REAL, &p.drift},
                                 {"--labels-change", FLIP_OPTION_FLAG, &p.labels_change},
                                 {NULL, FLIP_OPTION_END, NULL}};
    FLIP_TRY(flip_options_parse("generate sbm", argc, argv, table, &word, what, 1));
    FLIP_TRY(need_path(path, "sbm"));
    *to = path;
    return flip_generate_sbm(comm, path, &p, counts);
}

static flip_status generate_rmat(flip_comm *comm, int argc, char **argv, const char **to,
                                 flip_generate_counts *counts) {
    flip_rmat_params p = FLIP_RMAT_DEFAULTS;
    const char *path = NULL, *word;
    bool directed = false;
    p.n_edges = -1;
    const flip_option table[] = {COMMON(p.common),
                                 {"--spectrum", FLIP_OPTION_REAL, &p.common.spectrum},
                                 {"--edges", FLIP_OPTION_I64, &p.n_edges},
                                 {"--classes", FLIP_OPTION_I32, &p.n_classes},
                                 {"--a", FLIP_OPTION_REAL, &p.a},
                                 {"--b", FLIP_OPTION_REAL, &p.b},
                                 {"--c", FLIP_OPTION_REAL, &p.c},
                                 {"--growth", FLIP_OPTION_REAL, &p.growth},
                                 {"--directed", FLIP_OPTION_FLAG, &directed},
                                 {NULL, FLIP_OPTION_END, NULL}};
    FLIP_TRY(flip_options_parse("generate rmat", argc, argv, table, &word, what, 1));
    FLIP_TRY(need_path(path, "rmat"));
    *to = path;
    p.undirected = !directed;
    if (p.n_edges < 0) p.n_edges = 8 * p.common.n_nodes;
    return flip_generate_rmat(comm, path, &p, counts);
}

/* The shape of ogbn-products (Hu et al., NeurIPS 2020, table 2), which is far too large for a
 * laptop: the same degree and skew, columns and classes on fewer nodes. */
static flip_status generate_products(flip_comm *comm, int argc, char **argv, const char **to,
                                     flip_generate_counts *counts) {
    flip_rmat_params p = FLIP_RMAT_DEFAULTS;
    const char *path = NULL, *word;
    double scale = 0.05;
    p.common.n_features = 100;
    p.common.train = .0803;
    p.common.valid = .0161;
    p.common.spectrum = 1.4;
    p.n_classes = 47;
    p.common.n_nodes = p.n_edges = -1;
    const flip_option table[] = {COMMON(p.common),
                                 {"--spectrum", FLIP_OPTION_REAL, &p.common.spectrum},
                                 {"--edges", FLIP_OPTION_I64, &p.n_edges},
                                 {"--classes", FLIP_OPTION_I32, &p.n_classes},
                                 {"--scale", FLIP_OPTION_REAL, &scale},
                                 {NULL, FLIP_OPTION_END, NULL}};
    FLIP_TRY(flip_options_parse("generate products", argc, argv, table, &word, what, 1));
    FLIP_TRY(need_path(path, "products"));
    if (!(scale > 0 && scale <= 1000))
        return FLIP_FAIL(FLIP_ERROR_USAGE, "--scale is %g; it must be above 0 and at most 1000",
                         scale);
    *to = path;
    if (p.common.n_nodes < 0) p.common.n_nodes = (int64_t)(2449029 * scale);
    if (p.n_edges < 0) p.n_edges = (int64_t)(61859140 * scale);
    return flip_generate_rmat(comm, path, &p, counts);
}

static flip_status generate_payments(flip_comm *comm, int argc, char **argv, const char **to,
                                     flip_generate_counts *counts) {
    flip_payments_params p = FLIP_PAYMENTS_DEFAULTS;
    const char *path = NULL, *word;
    const flip_option table[] = {COMMON(p.common),
                                 {"--rings", FLIP_OPTION_I32, &p.n_rings},
                                 {"--payments", FLIP_OPTION_REAL, &p.payments},
                                 {"--ring-activity", FLIP_OPTION_REAL, &p.ring_activity},
                                 {NULL, FLIP_OPTION_END, NULL}};
    FLIP_TRY(flip_options_parse("generate payments", argc, argv, table, &word, what, 1));
    FLIP_TRY(need_path(path, "payments"));
    *to = path;
    return flip_generate_payments(comm, path, &p, counts);
}

typedef flip_status (*generator)(flip_comm *, int, char **, const char **, flip_generate_counts *);
static const struct {
    const char *name;
    generator run;
} kinds[] = {{"sbm", generate_sbm},
             {"rmat", generate_rmat},
             {"products", generate_products},
             {"payments", generate_payments}};
enum { N_KINDS = sizeof kinds / sizeof *kinds };

static flip_status find_kind(const char *word, generator *out) {
    const char *names[N_KINDS];
    for (int i = 0; i < N_KINDS; i++) {
        names[i] = kinds[i].name;
        *out = kinds[i].run;
        if (strcmp(word, kinds[i].name) == 0) return FLIP_OK;
    }
    const char *near = flip_suggest(word, names, N_KINDS);
    if (near)
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "flipbook generate does not know '%s'; did you mean '%s'?", word, near);
    return FLIP_FAIL(
        FLIP_ERROR_USAGE,
        "flipbook generate does not know '%s'; it makes sbm, rmat, products and payments", word);
}

static void tell(const char *path, const flip_generate_counts *c, double seconds) {
    printf("%s: %" PRId64 " nodes, %" PRId64 " events", path, c->n_nodes, c->n_events);
    if (c->n_steps > 1) printf(" in %" PRId64 " steps", c->n_steps);
    if (c->n_rings > 0)
        printf(", %" PRId64 " rings of %" PRId64 " fraud accounts", c->n_rings, c->n_fraud);
    printf(" (%.1f s)\n", seconds);
}

int flip_command_generate(int argc, char **argv) {
    flip_status status = FLIP_OK;
    flip_comm *comm = NULL;
    generator run = NULL;
    flip_generate_counts counts;
    const char *kind = NULL, *path = NULL;
    double start = flip_seconds();
    for (int i = 1; i < argc && !kind; i++)
        if (argv[i][0] != '-' && (i == 1 || argv[i - 1][0] != '-')) kind = argv[i];
    if (!kind) {
        status = FLIP_FAIL(FLIP_ERROR_USAGE,
                           "flipbook generate needs %s (flipbook generate --help)", what[0]);
        goto done;
    }
    FLIP_TRY_GOTO(find_kind(kind, &run));
    FLIP_TRY_GOTO(flip_comm_create(&comm, MPI_COMM_WORLD));
    FLIP_TRY_GOTO(run(comm, argc, argv, &path, &counts));
    if (flip_comm_rank(comm) == 0) tell(path, &counts, flip_seconds() - start);
done:
    flip_comm_destroy(&comm);
    return flip_command_end(status);
}
