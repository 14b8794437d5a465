/* t157: repartitioning. A drifting block model whose nodes come and go is cut once by METIS and
 * then carried from file to file: the halo stays within 1.2 of METIS anew, balance within 1.05, few
 * rows move, and every number printed is counted again here. */
#include "ranks.h"

#include <flipbook/partition.h>
#include <partition/internal.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static flip_comm *world;
static char folder[64];

static void path_of(char out[128], const char *name) {
    snprintf(out, 128, "%s/%s.h5", folder, name);
}

static uint64_t draw(uint64_t a, uint64_t b, uint64_t below) {
    return flip_random_below(11, FLIP_STREAM_TEST, a, b, below);
}

/* ---- a drifting block model, as it stands at some step ---- */

enum { BLOCKS = 24, DEGREE = 6, OUT = 1, MOST_PAIRS = 400000 };

typedef struct town {
    int64_t born_a_step, first; /* nodes that come at each step; at the beginning */
    int64_t lifetime;           /* steps; 0 = for ever */
    double drift;               /* chance to move to another block, each step */
    int32_t window;             /* only the last so many steps are in the file; 0 = all */
    bool undirected, text;
} town;

typedef struct pair {
    int64_t dst, src; /* names */
    int32_t step;
} pair;

static int64_t n_born(const town *t, int32_t step) {
    return t->first + step * t->born_a_step;
}
static int32_t birth(const town *t, int64_t name) {
    return name < t->first ? 0 : (int32_t)((name - t->first) / t->born_a_step) + 1;
}
static bool lives(const town *t, int64_t name, int32_t step) {
    return birth(t, name) <= step && (t->lifetime == 0 || step < birth(t, name) + t->lifetime);
}
static int32_t block_of(const town *t, int64_t name, int32_t step) {
    int32_t block = (int32_t)draw(1, (uint64_t)name, BLOCKS);
    for (int32_t s = 1; s <= step; s++)
        if ((double)draw(100 + (uint64_t)s, (uint64_t)name, 1000000) < t->drift * 1e6)
            block = (int32_t)draw(200 + (uint64_t)s, (uint64_t)name, BLOCKS);
    return block;
}

static int by_row(const void *left, const void *right) {
    const pair *a = left, *b = right;
    if (a->dst != b->dst) return a->dst < b->dst ? -1 : 1;
    if (a->step != b->step) return a->step < b->step ? -1 : 1;
    return (a->src > b->src) - (a->src < b->src);
}

/* Pairs of one step: each node draws friends of its block, and a few of any. */
static int64_t step_pairs(const town *t, int32_t step, pair *out) {
    int64_t n = n_born(t, step), at[BLOCKS + 1] = {0}, fill[BLOCKS], made = 0;
    int32_t *block = malloc(sizeof *block * (size_t)n);
    int64_t *member = malloc(sizeof *member * (size_t)n);
    for (int64_t v = 0; v < n; v++) {
        block[v] = block_of(t, v, step);
        at[block[v] + 1] += lives(t, v, step);
    }
    for (int k = 0; k < BLOCKS; k++)
        at[k + 1] += at[k];
    memcpy(fill, at, sizeof fill);
    for (int64_t v = 0; v < n; v++)
        if (lives(t, v, step)) member[fill[block[v]]++] = v;
    for (int64_t v = 0; v < n; v++) {
        int64_t size = at[block[v] + 1] - at[block[v]];
        for (uint64_t j = 0; j < DEGREE + OUT && lives(t, v, step); j++) {
            uint64_t seed = (uint64_t)step * 64 + j + 1000;
            int64_t u =
                j < DEGREE ? member[at[block[v]] + (int64_t)draw(seed, (uint64_t)v, (uint64_t)size)]
                           : member[draw(seed, (uint64_t)v, (uint64_t)at[BLOCKS])];
            if (u == v && t->undirected) continue; /* directed ones have self loops */
            out[made++] = (pair){v, u, step};
            if (t->undirected) out[made++] = (pair){u, v, step};
        }
    }
    free(block);
    free(member);
    return made;
}

/* Dense ids are scattered anew in every file: only names tell the nodes. */
static int64_t *scatter(const town *t, int32_t step, int64_t *n, int64_t *dense) {
    int64_t all = n_born(t, step), alive = 0;
    int64_t *names = malloc(sizeof *names * (size_t)all);
    for (int64_t v = 0; v < all; v++) {
        dense[v] = -1;
        if (lives(t, v, step)) names[alive++] = v;
    }
    int64_t *mixed = malloc(sizeof *mixed * (size_t)alive);
    for (int64_t i = 0; i < alive; i++)
        mixed[flip_random_permute(77 + (uint64_t)step, FLIP_STREAM_TEST, alive, i)] = names[i];
    for (int64_t i = 0; i < alive; i++)
        dense[mixed[i]] = i;
    free(names);
    *n = alive;
    return mixed;
}

static void put(flip_writer *w, const char *name, flip_type type, int64_t n, const void *data) {
    CHECK_OK(flip_writer_rows(w, name, type, type, n, 0, 0, data));
}

static void write_names(const town *t, flip_writer *w, const int64_t *names, int64_t n) {
    if (!t->text) {
        put(w, "nodes/number", FLIP_TYPE_I64, n, names);
        return;
    }
    int64_t *ptr = calloc((size_t)n + 1, sizeof *ptr);
    char *bytes = malloc((size_t)n * 16 + 1);
    for (int64_t v = 0; v < n; v++)
        ptr[v + 1] = ptr[v] + sprintf(bytes + ptr[v], "n%lld", (long long)names[v]);
    put(w, "nodes/name_ptr", FLIP_TYPE_I64, n + 1, ptr);
    put(w, "nodes/name", FLIP_TYPE_U8, ptr[n], bytes);
    free(ptr);
    free(bytes);
}

/* The file of a step, by rank 0. Events of nodes that are gone are gone. */
static void town_write(const town *t, int32_t step, const char *path) {
    flip_writer *w = NULL;
    int64_t n, n_pairs = 0, kept = 0, *dense = malloc(8 * (size_t)n_born(t, step));
    pair *pairs = malloc(sizeof *pairs * MOST_PAIRS);
    if (flip_comm_rank(world) == 0) {
        int64_t *names = scatter(t, step, &n, dense);
        int32_t begin = t->window > 0 && step >= t->window ? step - t->window + 1 : 0;
        for (int32_t s = begin; s <= step; s++) {
            int64_t made = step_pairs(t, s, pairs + n_pairs);
            for (int64_t i = 0; i < made; i++)
                pairs[n_pairs + i].step -= begin;
            n_pairs += made;
            CHECK(n_pairs < MOST_PAIRS * 3 / 4, "%lld pairs", (long long)n_pairs);
        }
        for (int64_t i = 0; i < n_pairs; i++) {
            pair p = {dense[pairs[i].dst], dense[pairs[i].src], pairs[i].step};
            if (p.dst >= 0 && p.src >= 0) pairs[kept++] = p;
        }
        qsort(pairs, (size_t)kept, sizeof *pairs, by_row);
        int64_t *ptr = calloc((size_t)n + 1, 8);
        int32_t *src = malloc(4 * (size_t)kept + 4), *when = malloc(4 * (size_t)kept + 4);
        for (int64_t i = 0; i < kept; i++) {
            ptr[pairs[i].dst + 1]++;
            src[i] = (int32_t)pairs[i].src;
            when[i] = pairs[i].step;
        }
        for (int64_t v = 0; v < n; v++)
            ptr[v + 1] += ptr[v];
        CHECK_OK(flip_writer_create(&w, NULL, path, "graph"));
        CHECK_OK(flip_writer_attribute_i64(w, "/", "n_nodes", n));
        CHECK_OK(flip_writer_attribute_i64(w, "/", "n_steps", step - begin + 1));
        CHECK_OK(flip_writer_attribute_i64(w, "/", "n_classes", 0));
        CHECK_OK(flip_writer_attribute_i64(w, "/", "undirected", t->undirected));
        CHECK_OK(flip_writer_attribute_text(w, "/", "creator", "t157"));
        put(w, "events/indptr", FLIP_TYPE_I64, n + 1, ptr);
        put(w, "events/src", FLIP_TYPE_I32, kept, src);
        if (step > begin) put(w, "events/step", FLIP_TYPE_I32, kept, when);
        write_names(t, w, names, n);
        CHECK_OK(flip_writer_commit(w));
        flip_writer_destroy(&w);
        void *all[] = {names, ptr, src, when};
        for (size_t i = 0; i < 4; i++)
            free(all[i]);
    }
    free(dense);
    free(pairs);
    MPI_Barrier(flip_comm_mpi(world));
}

/* ---- counted again ---- */

/* part [n_names]: of each name in a partitioned file; -1 = not there. Returns nodes. */
static int64_t parts_by_name(const char *path, int32_t *part, int64_t n_names) {
    flip_reader *r = NULL;
    int64_t dims[3], parts[3];
    CHECK_OK(flip_reader_open(&r, NULL, path, "graph"));
    CHECK_OK(flip_reader_shape(r, "events/indptr", dims, NULL));
    CHECK_OK(flip_reader_shape(r, "parts/first", parts, NULL));
    int64_t n = dims[0] - 1, *first = malloc(8 * (size_t)parts[0]), *name = malloc(8 * (size_t)n);
    CHECK_OK(flip_reader_rows(r, "parts/first", FLIP_TYPE_I64, 0, parts[0], first));
    if (flip_reader_has(r, "nodes/number")) {
        CHECK_OK(flip_reader_rows(r, "nodes/number", FLIP_TYPE_I64, 0, n, name));
    } else {
        int64_t *ptr = malloc(8 * (size_t)(n + 1));
        CHECK_OK(flip_reader_rows(r, "nodes/name_ptr", FLIP_TYPE_I64, 0, n + 1, ptr));
        char *bytes = calloc((size_t)ptr[n] + 1, 1);
        CHECK_OK(flip_reader_rows(r, "nodes/name", FLIP_TYPE_U8, 0, ptr[n], bytes));
        for (int64_t v = 0; v < n; v++)
            name[v] = strtoll(bytes + ptr[v] + 1, NULL, 10);
        free(ptr);
        free(bytes);
    }
    for (int64_t i = 0; i < n_names; i++)
        part[i] = -1;
    for (int32_t k = 0; k + 1 < parts[0]; k++)
        for (int64_t v = first[k]; v < first[k + 1]; v++)
            part[name[v]] = k;
    free(first);
    free(name);
    flip_reader_close(&r);
    return n;
}

static void check_counts(const town *t, int32_t step, const char *old, const char *now,
                         const flip_repartition *r) {
    int64_t names = n_born(t, step), known = 0, fresh = 0, gone = 0, moved = 0;
    int32_t *before = malloc(4 * (size_t)names), *after = malloc(4 * (size_t)names);
    parts_by_name(old, before, names);
    parts_by_name(now, after, names);
    for (int64_t v = 0; v < names; v++) {
        known += before[v] >= 0 && after[v] >= 0;
        fresh += before[v] < 0 && after[v] >= 0;
        gone += before[v] >= 0 && after[v] < 0;
        moved += before[v] >= 0 && after[v] >= 0 && before[v] != after[v];
    }
    CHECK(known == r->n_known && fresh == r->n_new && gone == r->n_vanished,
          "known %lld %lld, new %lld %lld, vanished %lld %lld", (long long)known,
          (long long)r->n_known, (long long)fresh, (long long)r->n_new, (long long)gone,
          (long long)r->n_vanished);
    CHECK(moved == r->moved, "moved %lld, counted %lld", (long long)r->moved, (long long)moved);
    free(before);
    free(after);
}

/* Bytes of two files. */
static void check_same_bytes(const char *left, const char *right) {
    FILE *a = fopen(left, "rb"), *b = fopen(right, "rb");
    CHECK(a && b, "%s, %s", left, right);
    for (int x = 0, y = 0; x != EOF || y != EOF;) {
        x = fgetc(a);
        y = fgetc(b);
        CHECK(x == y, "%s and %s differ at byte %ld", left, right, ftell(a));
    }
    fclose(a);
    fclose(b);
}

/* ---- the program's steps ---- */

static flip_partition_params params_of(int32_t n_parts) {
    flip_partition_params p = FLIP_PARTITION_DEFAULTS;
    p.n_parts = n_parts;
    return p;
}

/* METIS on `in`; the halo of as many ranks as parts. */
static int64_t cut_full(const char *in, const char *out, const flip_partition_params *p) {
    flip_reader *reader = NULL;
    flip_partition *cut = NULL;
    flip_partition_row rows[FLIP_PARTITION_ROWS];
    int32_t n_rows = 0;
    CHECK_OK(flip_reader_open(&reader, world, in, "graph"));
    CHECK_OK(flip_partition_compute(&cut, world, reader, p));
    CHECK(cut->method == p->method, "%s", cut->reason);
    CHECK_OK(flip_partition_measure(rows, &n_rows, world, reader, cut));
    if (p->method == FLIP_PARTITION_METIS)
        CHECK(cut->full_halo == rows[n_rows - 1].halo_sum, "kept %lld", (long long)cut->full_halo);
    if (out) CHECK_OK(flip_partition_write(world, reader, cut, p, out));
    flip_partition_destroy(&cut);
    flip_reader_close(&reader);
    return rows[n_rows - 1].halo_sum;
}

static flip_repartition cut_from(flip_comm *comm, const char *in, const char *old, const char *out,
                                 const flip_partition_params *p) {
    flip_reader *reader = NULL, *before = NULL;
    flip_partition *cut = NULL;
    flip_repartition r;
    flip_partition_row rows[FLIP_PARTITION_ROWS];
    int32_t n_rows = 0;
    CHECK_OK(flip_reader_open(&reader, comm, in, "graph"));
    CHECK_OK(flip_reader_open(&before, comm, old, "graph"));
    CHECK_OK(flip_repartition_compute(&cut, &r, comm, reader, before, p));
    CHECK_OK(flip_partition_measure(rows, &n_rows, comm, reader, cut));
    CHECK(rows[n_rows - 1].halo_sum == r.after.halo_sum &&
              rows[n_rows - 1].node_balance == r.after.node_balance,
          "halo %lld is said, %lld found", (long long)r.after.halo_sum,
          (long long)rows[n_rows - 1].halo_sum);
    CHECK_OK(flip_partition_write(comm, reader, cut, p, out));
    flip_partition_destroy(&cut);
    flip_reader_close(&reader);
    flip_reader_close(&before);
    return r;
}

/* ---- the tests ---- */

static const town towns[] = {
    {.first = 1500, .born_a_step = 60, .drift = .01, .undirected = true},
    {.first = 1500, .born_a_step = 60, .drift = .02, .text = true},
    {.first = 1500, .born_a_step = 100, .lifetime = 9, .drift = .02, .window = 4},
    {.first = 1200, .born_a_step = 150, .drift = .03, .window = 3, .undirected = true}};

/* Several steps of growth, from file to file. */
static void follows_a_drifting_graph(void **state) {
    (void)state;
    char in[128], old[128], out[128], metis[128];
    for (size_t i = 0; i < sizeof towns / sizeof *towns; i++) {
        const town *t = &towns[i];
        flip_partition_params p = params_of(8);
        double worst = 0;
        int64_t moved = 0, known = 0;
        int anew = 0;
        path_of(old, "old");
        path_of(in, "in");
        town_write(t, 4, in);
        cut_full(in, old, &p);
        for (int32_t step = 5; step <= 10; step++) {
            path_of(in, "in");
            path_of(out, step % 2 ? "odd" : "even");
            path_of(metis, "metis");
            town_write(t, step, in);
            flip_repartition r = cut_from(world, in, old, out, &p);
            int64_t full = cut_full(in, metis, &p);
            worst = fmax(worst, (double)r.after.halo_sum / (double)full);
            CHECK((double)r.after.halo_sum <= 1.2 * (double)full,
                  "town %zu, step %d: halo %lld, METIS has %lld", i, step,
                  (long long)r.after.halo_sum, (long long)full);
            CHECK(r.after.node_balance <= 1.05 + 1e-9 && r.after.edge_balance <= 1.05 + 1e-9,
                  "town %zu, step %d: balance %g, %g", i, step, r.after.node_balance,
                  r.after.edge_balance);
            CHECK(r.most_moved == r.n_known / 10, "most %lld", (long long)r.most_moved);
            if (!r.anew || r.kept)
                CHECK(r.moved <= r.most_moved, "moved %lld of at most %lld", (long long)r.moved,
                      (long long)r.most_moved);
            if (flip_comm_rank(world) == 0) {
                check_counts(t, step, old, out, &r);
                CHECK_OK(flip_container_check(out, NULL));
            }
            moved += r.moved;
            known += r.n_known;
            anew += r.anew;
            strcpy(old, out);
        }
        CHECK(moved > 0, "nothing moved in town %zu", i);
        if (flip_comm_rank(world) == 0)
            printf("# town %zu: 6 steps, halo at most %.3f of METIS, %.2f %% of the rows moved a "
                   "step, %d full runs\n",
                   i, worst, 100. * (double)moved / (double)known, anew);
    }
}

static void the_same_on_any_number_of_ranks(void **state) {
    (void)state;
    char in[128], old[128], one[128], many[128];
    int rank = flip_comm_rank(world);
    path_of(in, "in");
    path_of(old, "old");
    path_of(one, "one");
    path_of(many, "many");
    for (int full = 0; full < 2; full++) { /* local; METIS anew */
        flip_partition_params p = params_of(8);
        town_write(&towns[2], 4, in);
        cut_full(in, old, &p);
        town_write(&towns[2], full ? 9 : 5, in);
        p.n_parts = full ? 6 : 8;
        for (int size = 1; size <= flip_comm_size(world); size++) {
            MPI_Comm group;
            MPI_Comm_split(flip_comm_mpi(world), rank < size ? 0 : MPI_UNDEFINED, rank, &group);
            if (group != MPI_COMM_NULL) {
                flip_comm *comm = NULL;
                CHECK_OK(flip_comm_create(&comm, group));
                flip_repartition r = cut_from(comm, in, old, size == 1 ? one : many, &p);
                CHECK(r.anew == full, "%s", r.why);
                if (rank == 0 && size > 1) check_same_bytes(one, many);
                flip_comm_destroy(&comm);
                MPI_Comm_free(&group);
            }
            MPI_Barrier(flip_comm_mpi(world));
        }
    }
}

/* --max-moved holds for any share; nothing moves at 0. */
static void few_rows_move(void **state) {
    (void)state;
    char in[128], old[128], out[128];
    static const double shares[] = {0, .005, .02, .1, 1};
    int64_t cut_before = INT64_MAX;
    path_of(in, "in");
    path_of(old, "old");
    path_of(out, "out");
    flip_partition_params p = params_of(8);
    town t = towns[1];
    t.drift = .05;
    town_write(&t, 4, in);
    cut_full(in, old, &p);
    town_write(&t, 7, in);
    for (size_t i = 0; i < sizeof shares / sizeof *shares; i++) {
        p.max_moved = shares[i];
        flip_repartition r = cut_from(world, in, old, out, &p);
        int64_t most = (int64_t)(shares[i] * (double)r.n_known);
        CHECK(r.most_moved == most, "most");
        if (r.anew && !r.kept) continue;
        CHECK(r.moved <= most, "moved %lld of at most %lld", (long long)r.moved, (long long)most);
        CHECK(r.local.halo_sum <= r.before.halo_sum, "the pass made it worse");
        CHECK(r.local.halo_sum <= cut_before, "more moves, more halo");
        cut_before = r.local.halo_sum + r.local.halo_sum / 50;
    }
}

/* The full run comes when it is due, is numbered to move few rows, and says why. */
static void metis_anew(void **state) {
    (void)state;
    char in[128], old[128], out[128];
    path_of(in, "in");
    path_of(old, "old");
    path_of(out, "out");
    flip_partition_params p = params_of(8);
    town t = towns[3];
    t.window = 1;
    town_write(&t, 2, in);
    cut_full(in, old, &p);
    flip_repartition r = cut_from(world, in, old, out, &p);
    CHECK(!r.anew && r.moved <= r.n_known / 50, "an unchanged graph: %s", r.why);
    double same = r.expected / (double)r.before.halo_sum;
    CHECK(fabs(same - 1) < 1e-6, "an unchanged graph's halo is expected %g times", same);

    town changed = t; /* everybody has moved: only a full run can help */
    changed.drift = .9;
    town_write(&changed, 3, in);
    p.max_moved = .01;
    r = cut_from(world, in, old, out, &p);
    CHECK(r.anew && !r.kept && strstr(r.why, "1.2 times the last full result"), "%s", r.why);
    CHECK(r.full.halo_sum < r.local.halo_sum && r.after.halo_sum == r.full.halo_sum, "halo");

    town_write(&t, 2, in); /* another number of parts; another seed's parts overlap the old ones */
    p = params_of(5);
    r = cut_from(world, in, old, out, &p);
    CHECK(r.anew && !r.kept && strstr(r.why, "has 8 parts, not 5") && r.local.ranks == 0, "%s",
          r.why);

    p = params_of(8); /* asked for */
    p.anew_above = 0;
    r = cut_from(world, in, old, out, &p);
    CHECK(r.anew && !r.kept && strstr(r.why, "asked for"), "%s", r.why);

    p = params_of(8); /* cut by chance: no full result to hold to; METIS, as it came, is far away */
    p.method = FLIP_PARTITION_RANDOM;
    cut_full(in, old, &p);
    p.method = FLIP_PARTITION_METIS;
    r = cut_from(world, in, old, out, &p);
    CHECK(r.anew && strstr(r.why, "does not say what a full result was"), "%s", r.why);
}

/* Parts of a full run take the numbers of those they overlap: METIS's parts with some nodes
 * exchanged are found again, under their numbers, and only those nodes move. */
static void numbers_overlap(void **state) {
    (void)state;
    char in[128], old[128], out[128];
    path_of(in, "in");
    path_of(old, "old");
    path_of(out, "out");
    flip_partition_params p = params_of(8);
    flip_reader *reader = NULL;
    flip_partition *full = NULL;
    town_write(&towns[0], 4, in);
    CHECK_OK(flip_reader_open(&reader, world, in, "graph"));
    CHECK_OK(flip_partition_compute(&full, world, reader, &p));
    for (int64_t i = 0; i < full->n_nodes / 8; i++) {
        int64_t a = (int64_t)draw(7, 2 * (uint64_t)i, (uint64_t)full->n_nodes);
        int64_t b = (int64_t)draw(7, 2 * (uint64_t)i + 1, (uint64_t)full->n_nodes);
        flip_gid kept = full->order[a];
        full->order[a] = full->order[b];
        full->order[b] = kept;
    }
    CHECK_OK(flip_partition_write(world, reader, full, &p, old));
    flip_partition_destroy(&full);
    flip_reader_close(&reader);
    p.max_moved = 0;
    flip_repartition r = cut_from(world, in, old, out, &p);
    CHECK(r.anew && !r.kept && strstr(r.why, "1.2 times"), "%s", r.why);
    CHECK(r.moved > 0 && r.moved <= r.n_known / 3, "%lld of %lld rows moved", (long long)r.moved,
          (long long)r.n_known);
    p.max_moved = .3; /* and the local pass finds nearly the same */
    r = cut_from(world, in, old, out, &p);
    CHECK(!r.anew && r.moved > r.n_known / 8, "%s", r.why);
}

/* Growth in one corner: parts far above their allowance are relieved. */
static void balance_comes_back(void **state) {
    (void)state;
    char in[128], old[128], out[128];
    path_of(in, "in");
    path_of(old, "old");
    path_of(out, "out");
    flip_partition_params p = params_of(4);
    town t = {.first = 2000, .born_a_step = 1, .undirected = true};
    town_write(&t, 1, in);
    flip_reader *reader = NULL;
    flip_partition *block = NULL;
    CHECK_OK(flip_reader_open(&reader, world, in, "graph"));
    p.method = FLIP_PARTITION_METIS;
    CHECK_OK(flip_partition_compute(&block, world, reader, &p));
    /* part 1 hands a third of its nodes to part 0 */
    for (int32_t k = 1; k <= 1; k++)
        block->part_first[k] += (block->part_first[k + 1] - block->part_first[k]) / 6;
    CHECK_OK(flip_partition_write(world, reader, block, &p, old));
    flip_partition_destroy(&block);
    flip_reader_close(&reader);
    flip_repartition r = cut_from(world, in, old, out, &p);
    CHECK(r.before.node_balance > 1.1, "balance before is %g", r.before.node_balance);
    CHECK(!r.anew, "%s", r.why);
    CHECK(r.after.node_balance <= 1.05 + 1e-9 && r.after.edge_balance <= 1.05 + 1e-9,
          "balance %g, %g", r.after.node_balance, r.after.edge_balance);
    CHECK(r.moved <= r.most_moved && r.moved > 0, "moved %lld", (long long)r.moved);
}

/* Rows from the file, as where the union does not fit: the same moves on an undirected graph, where
 * in-neighbours are all neighbours. */
static void streams_do_the_same(void **state) {
    (void)state;
    char in[128];
    path_of(in, "in");
    town_write(&towns[0], 4, in);
    if (flip_comm_rank(world) == 0) {
        flip_reader *reader = NULL;
        flip_union graph = {0};
        char refusal[160];
        flip_partition_params p = params_of(8);
        double worst = 0;
        CHECK_OK(flip_reader_open(&reader, NULL, in, "graph"));
        CHECK_OK(flip_union_build(&graph, NULL, reader, &p, refusal));
        int64_t n = graph.n;
        int32_t *home = malloc(4 * (size_t)n), *a = malloc(4 * (size_t)n),
                *b = malloc(4 * (size_t)n);
        int64_t moved = 0;
        flip_partition_block(home, n, 8);
        memcpy(a, home, 4 * (size_t)n);
        memcpy(b, home, 4 * (size_t)n);
        CHECK_OK(flip_partition_local(a, &worst, home, n, n / 5, true, &graph, reader, &p));
        CHECK_OK(flip_partition_local(b, &worst, home, n, n / 5, true, NULL, reader, &p));
        for (int64_t v = 0; v < n; v++) {
            CHECK(a[v] == b[v], "node %lld", (long long)v);
            moved += a[v] != home[v];
        }
        CHECK(moved > n / 10 && moved <= n / 5, "moved %lld", (long long)moved);
        free(home);
        free(a);
        free(b);
        flip_union_free(&graph);
        flip_reader_close(&reader);
    }
    MPI_Barrier(flip_comm_mpi(world));
}

/* Distinct destinations against brute force; the fitted share gives back the halo. */
static void spread_is_fitted(void **state) {
    (void)state;
    char in[128];
    static flip_spread s;
    flip_reader *reader = NULL;
    path_of(in, "in");
    town_write(&towns[1], 3, in);
    CHECK_OK(flip_reader_open(&reader, world, in, "graph"));
    int64_t dims[3], n, pairs = 0, counted = 0, nodes = 0;
    CHECK_OK(flip_reader_shape(reader, "events/indptr", dims, NULL));
    n = dims[0] - 1;
    CHECK_OK(flip_spread_count(&s, world, reader, n, 8));
    int64_t *ptr = malloc(8 * (size_t)(n + 1)), *last = malloc(8 * (size_t)n);
    CHECK_OK(flip_reader_rows(reader, "events/indptr", FLIP_TYPE_I64, 0, n + 1, ptr));
    int32_t *src = malloc(4 * (size_t)ptr[n]), *degree = calloc((size_t)n, 4);
    CHECK_OK(flip_reader_rows(reader, "events/src", FLIP_TYPE_I32, 0, ptr[n], src));
    for (int64_t v = 0; v < n; v++)
        last[v] = -1;
    for (int64_t v = 0; v < n; v++)
        for (int64_t e = ptr[v]; e < ptr[v + 1]; e++) {
            degree[src[e]] += src[e] != v && last[src[e]] != v;
            last[src[e]] = v;
        }
    for (int64_t d = 0; d < FLIP_SPREAD_MOST; d++) {
        counted += d * s.nodes[d];
        nodes += s.nodes[d];
    }
    double by_hand = 0;
    for (int64_t v = 0; v < n; v++) {
        pairs += degree[v];
        by_hand += 7 * (1 - pow(1 - .2 / 7, degree[v]));
    }
    CHECK(counted == pairs && nodes == n, "%lld pairs, counted %lld", (long long)pairs,
          (long long)counted);
    CHECK(fabs(flip_spread_halo(&s, .2) / by_hand - 1) < 1e-9, "halo %g", flip_spread_halo(&s, .2));
    for (int64_t halo = 0; halo < n * 3; halo += n / 5) {
        double f = flip_spread_crossing(&s, halo);
        CHECK(f >= 0 && f <= 1 && fabs(flip_spread_halo(&s, f) - (double)halo) < 1e-3,
              "halo %lld, share %g", (long long)halo, f);
    }
    void *all[] = {ptr, last, src, degree};
    for (size_t i = 0; i < 4; i++)
        free(all[i]);
    flip_reader_close(&reader);
}

static void refuse(const char *in, const char *old, const flip_partition_params *p,
                   flip_status want, const char *text) {
    flip_reader *reader = NULL, *before = NULL;
    flip_partition *cut = NULL;
    flip_repartition r;
    CHECK_OK(flip_reader_open(&reader, world, in, "graph"));
    CHECK_OK(flip_reader_open(&before, world, old, "graph"));
    flip_status status = flip_repartition_compute(&cut, &r, world, reader, before, p);
    CHECK(status == want && !cut && strstr(flip_error_message(), text), "%d: %s", (int)status,
          flip_error_message());
    flip_error_clear();
    flip_reader_close(&reader);
    flip_reader_close(&before);
}

static void refusals(void **state) {
    (void)state;
    char in[128], old[128], text[128];
    path_of(in, "in");
    path_of(old, "old");
    path_of(text, "text");
    flip_partition_params p = params_of(8);
    town t = {.first = 300, .born_a_step = 10};
    town_write(&t, 2, in);
    refuse(in, in, &p, FLIP_ERROR_INPUT, "is not partitioned");
    cut_full(in, old, &p);
    t.text = true;
    town_write(&t, 3, text);
    refuse(text, old, &p, FLIP_ERROR_INPUT, "nodes are named by text in");
    p.max_moved = 1.5;
    refuse(in, old, &p, FLIP_ERROR_USAGE, "max_moved is 1.5");
    p = params_of(8);
    p.method = FLIP_PARTITION_BLOCK;
    refuse(in, old, &p, FLIP_ERROR_USAGE, "not on block");
}

int main(int argc, char **argv) {
    MPI_Init(&argc, &argv);
    if (flip_comm_create(&world, MPI_COMM_WORLD) != FLIP_OK) return 1;
    if (flip_comm_rank(world) == 0) {
        snprintf(folder, sizeof folder, "/tmp/flip_t157_XXXXXX");
        if (!mkdtemp(folder)) return 1;
    }
    MPI_Bcast(folder, sizeof folder, MPI_BYTE, 0, MPI_COMM_WORLD);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(follows_a_drifting_graph),
        cmocka_unit_test(the_same_on_any_number_of_ranks),
        cmocka_unit_test(few_rows_move),
        cmocka_unit_test(metis_anew),
        cmocka_unit_test(numbers_overlap),
        cmocka_unit_test(balance_comes_back),
        cmocka_unit_test(streams_do_the_same),
        cmocka_unit_test(spread_is_fitted),
        cmocka_unit_test(refusals),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    char command[128];
    MPI_Barrier(MPI_COMM_WORLD);
    if (flip_comm_rank(world) == 0) {
        snprintf(command, sizeof command, "rm -rf '%s'", folder);
        if (system(command) != 0) failed++;
    }
    flip_comm_destroy(&world);
    MPI_Finalize();
    return failed;
}
