/* SIEVE against a plain simulation: a list in the order of arrival, walked and shifted by hand; its
 * hits beside those of FIFO on reads that are skewed. */
#include "ranks.h"

#include "store/sieve.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 300, READS = 20000 };

/* The list, oldest first. The hand is a place in it. */
typedef struct simulation {
    int n, capacity, hand;
    flip_gid id[MOST];
    bool marked[MOST];
} simulation;

static int find(const simulation *m, flip_gid id) {
    for (int i = 0; i < m->n; i++)
        if (m->id[i] == id) return i;
    return -1;
}

static flip_gid drop(simulation *m) {
    if (m->hand >= m->n) m->hand = 0;
    while (m->marked[m->hand]) {
        m->marked[m->hand] = false;
        m->hand = (m->hand + 1) % m->n;
    }
    flip_gid gone = m->id[m->hand];
    for (int i = m->hand; i + 1 < m->n; i++) {
        m->id[i] = m->id[i + 1];
        m->marked[i] = m->marked[i + 1];
    }
    m->n--;
    if (m->hand >= m->n) m->hand = 0; /* it was the newest */
    return gone;
}

/* Skewed reads that change their favourites over time. */
static flip_gid draw(uint64_t seed, uint64_t i, int64_t n) {
    double u = flip_random_uniform(seed, FLIP_STREAM_TEST, 0, i);
    return ((flip_gid)(pow(u, 3) * (double)n) * 13 + (flip_gid)(i / 5000) * 7) % n * 1000003;
}

static int64_t compare(int capacity, int64_t n, uint64_t seed) {
    static simulation m;
    flip_sieve *s;
    flip_gid *row = malloc((size_t)capacity * sizeof *row); /* what a slot holds */
    int64_t hits = 0;
    m = (simulation){.capacity = capacity};
    CHECK_OK(flip_sieve_create(&s, capacity));
    for (uint64_t i = 0; i < READS; i++) {
        flip_gid id = draw(seed, i, n);
        int at = find(&m, id);
        int32_t slot = flip_sieve_find(s, id);
        CHECK((at >= 0) == (slot >= 0), "read %llu of %lld: %s", (unsigned long long)i,
              (long long)id, slot >= 0 ? "found" : "not found");
        if (at >= 0) {
            m.marked[at] = true;
            CHECK(row[slot] == id, "slot %d holds %lld", slot, (long long)row[slot]);
            hits++;
            continue;
        }
        bool fresh, again;
        if (m.n == capacity) drop(&m);
        m.id[m.n] = id;
        m.marked[m.n++] = false;
        slot = flip_sieve_insert(s, id, &fresh);
        CHECK(fresh && slot >= 0 && slot < capacity, "slot %d", slot);
        CHECK(flip_sieve_insert(s, id, &again) == slot && !again, "inserted twice");
        row[slot] = id;
    }
    flip_sieve_destroy(&s);
    free(row);
    return hits;
}

static void simulated(void **state) {
    (void)state;
    static const int capacities[] = {1, 2, 3, 7, 64, 299};
    for (size_t c = 0; c < sizeof capacities / sizeof *capacities; c++)
        for (uint64_t seed = 1; seed < 4; seed++) {
            compare(capacities[c], 1000, seed);
            compare(capacities[c], capacities[c], seed); /* all fit */
        }
}

/* First in, first out: the same simulation without marks. */
static int64_t fifo(int capacity, int64_t n, uint64_t seed) {
    static simulation m;
    int64_t hits = 0;
    m = (simulation){.capacity = capacity};
    for (uint64_t i = 0; i < READS; i++) {
        flip_gid id = draw(seed, i, n);
        if (find(&m, id) >= 0) {
            hits++;
            continue;
        }
        if (m.n == capacity) drop(&m);
        m.id[m.n++] = id;
    }
    return hits;
}

static void better_than_fifo(void **state) {
    (void)state;
    int64_t ours = compare(100, 1000, 1), plain = fifo(100, 1000, 1);
    printf("# hits: sieve %.3f, fifo %.3f\n", (double)ours / READS, (double)plain / READS);
    CHECK(ours > plain + READS / 50, "%lld hits, fifo %lld", (long long)ours, (long long)plain);
}

static void refusals(void **state) {
    (void)state;
    flip_sieve *s;
    CHECK(flip_sieve_create(&s, 0) != FLIP_OK && !s, "no ids");
    flip_error_clear();
    CHECK(flip_sieve_create(&s, -5) != FLIP_OK && !s, "less than none");
    flip_error_clear();
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(simulated),
                                       cmocka_unit_test(better_than_fifo),
                                       cmocka_unit_test(refusals)};
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
