/* Graph differences (SC'21 section 3.2): sorted lists merged, one entry after the other. */
#include "kernels/internal.h"

static const uint64_t NO_KEY = UINT64_MAX;

/* ---- words ---- */

static uint64_t follows(const flip_word_form *form) {
    return ((uint64_t)1 << form->value_bits) - 1;
}

uint64_t flip_word_key(const flip_word_form *form, uint64_t word) {
    const uint64_t entry = word >> form->value_bits;
    const uint64_t place = entry & (((uint64_t)1 << form->place_bits) - 1);
    return entry >> form->place_bits << 32 | place;
}

bool flip_word_value(const flip_word_form *form, uint64_t word, flip_real *value) {
    const uint64_t bits = word & follows(form);
    if (bits == follows(form)) return false;
    if (form->value_bits == 32) {
        const uint32_t pattern = (uint32_t)bits;
        float narrow;
        memcpy(&narrow, &pattern, sizeof narrow);
        *value = (flip_real)narrow;
    } else {
        *value = (flip_real)bits;
    }
    return true;
}

static void note(uint64_t *fault, uint64_t key) {
    if (key < *fault) *fault = key;
}

static void unpack_words(const flip_changes *c, const flip_graph_words *w, void *work,
                         uint64_t *fault) {
    (void)work;
    const uint64_t *word[3] = {w->word, w->word + w->n_removed,
                               w->word + w->n_removed + w->n_added};
    const int64_t count[3] = {w->n_removed, w->n_added, w->n_changed};
    const flip_real *extra = w->value, *value = w->value + w->n_extra;
    int64_t at[3] = {0};
    for (int64_t i = 0; i < c->n; i++) {
        int which = 0;
        uint64_t least = NO_KEY;
        for (int k = 0; k < 3; k++) {
            if (at[k] == count[k]) continue;
            const uint64_t key = flip_word_key(&w->form, word[k][at[k]]);
            if (key < least) {
                least = key;
                which = k;
            }
        }
        if (i > 0 && least == c->key[i - 1]) note(fault, least);
        c->key[i] = least;
        c->was[i] = which == 1 ? flip_absent() : 0;
        c->is[i] = flip_absent();
        if (which == 1 && !flip_word_value(&w->form, word[1][at[1]], &c->is[i]))
            c->is[i] = *extra++;
        if (which == 2) c->is[i] = *value++;
        at[which]++;
    }
}

/* ---- snapshots ---- */

/* Entries i … below `key` are copied; returns the first that is not. */
static int64_t copy_below(const flip_entries *to, const flip_entries *from, int64_t i, uint64_t key,
                          int64_t *n) {
    const int64_t begin = i;
    while (i < from->n && from->key[i] < key)
        i++;
    if (i == begin) return i;
    memcpy(to->key + *n, from->key + begin, (size_t)(i - begin) * sizeof *to->key);
    memcpy(to->value + *n, from->value + begin, (size_t)(i - begin) * sizeof *to->value);
    *n += i - begin;
    return i;
}

static void merge_changes(const flip_entries *to, const flip_entries *from, const flip_changes *c,
                          bool learn, void *work, uint64_t *fault) {
    (void)work;
    int64_t i = 0, n = 0;
    for (int64_t k = 0; k < c->n; k++) {
        i = copy_below(to, from, i, c->key[k], &n);
        const bool found = i < from->n && from->key[i] == c->key[k];
        const flip_real was = found ? from->value[i++] : flip_absent();
        if (learn && found != flip_is_absent(c->was[k]))
            c->was[k] = was;
        else if (learn || !flip_same_bits(c->was[k], was))
            note(fault, c->key[k]);
        if (flip_is_absent(c->is[k])) continue;
        to->key[n] = c->key[k];
        to->value[n++] = c->is[k];
    }
    copy_below(to, from, i, NO_KEY, &n);
}

static void find_changes(const flip_changes *c, int64_t *n_changes, const flip_entries *from,
                         const flip_entries *to, void *work) {
    (void)work;
    int64_t i = 0, j = 0, n = 0;
    while (i < from->n || j < to->n) {
        const uint64_t a = i < from->n ? from->key[i] : NO_KEY, b = j < to->n ? to->key[j] : NO_KEY;
        const flip_real was = a <= b ? from->value[i] : flip_absent(),
                        is = b <= a ? to->value[j] : flip_absent();
        i += a <= b;
        j += b <= a;
        if (flip_same_bits(was, is)) continue;
        if (n < c->n) {
            c->key[n] = a < b ? a : b;
            c->was[n] = was;
            c->is[n] = is;
        }
        n++;
    }
    *n_changes = n;
}

static void live_entries(const flip_entries *to, const flip_pair_events *p, int32_t t, int32_t life,
                         void *work) {
    (void)work;
    int64_t n = 0;
    for (int64_t i = 0; i < p->n && n < to->n; i++) {
        double sum = 0;
        bool lives = false;
        for (int64_t e = p->event_ptr[i]; e < p->event_ptr[i + 1]; e++) {
            if (p->step[e] > t || p->step[e] <= t - life) continue;
            sum += p->weight ? (double)p->weight[e] : 1;
            lives = true;
        }
        if (!lives) continue;
        to->key[n] = p->key[i];
        to->value[n++] = (flip_real)sum;
    }
}

/* ---- a snapshot as a matrix ---- */

static void keys_to_csr(const flip_entries *e, const int32_t *order, int32_t n_rows,
                        int64_t *row_ptr, int32_t *col) {
    int64_t i = 0;
    for (int32_t v = 0; v < n_rows; v++) {
        row_ptr[v] = i;
        for (; i < e->n && (int32_t)(e->key[i] >> 32) == v; i++) {
            const uint32_t place = (uint32_t)e->key[i];
            col[i] = order ? order[place] : (int32_t)place;
        }
    }
    row_ptr[n_rows] = i;
}

static void degree_scales(int32_t n_rows, const int64_t *row_ptr, const flip_real *value, bool mean,
                          flip_real *scale) {
#pragma omp parallel for schedule(static)
    for (int32_t v = 0; v < n_rows; v++) {
        double sum = 0;
        for (int64_t e = row_ptr[v]; e < row_ptr[v + 1]; e++)
            sum += (double)value[e];
        scale[v] = (flip_real)(!mean ? 1.0 / sqrt(1.0 + sum) : sum != 0 ? 1.0 / sum : 0);
    }
}

void flip_kernels_use_changes(flip_kernels *table) {
    table->unpack_words = unpack_words;
    table->merge_changes = merge_changes;
    table->find_changes = find_changes;
    table->live_entries = live_entries;
    table->keys_to_csr = keys_to_csr;
    table->degree_scales = degree_scales;
}
