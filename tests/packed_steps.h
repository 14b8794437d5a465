/* Packed features that change beside the numbers that their codes stand for. Before it:
 * changing.h. */
#ifndef FLIPBOOK_TESTS_PACKED_STEPS_H
#define FLIPBOOK_TESTS_PACKED_STEPS_H

#include <flipbook/codec.h>
#include <flipbook/container.h>

#include <stdlib.h>
#include <string.h>

/* A new file with all that `from` has beside its features. */
static flip_writer *copy_of(const char *from, const char *to, flip_reader **reader) {
    flip_writer *w = NULL;
    CHANGING_OK(flip_reader_open(reader, NULL, from, "graph"));
    CHANGING_OK(flip_writer_create(&w, NULL, to, "graph"));
    CHANGING_OK(flip_container_copy_attributes(w, *reader, "/"));
    for (int32_t i = 0; i < flip_reader_n_datasets(*reader); i++) {
        const char *name = flip_reader_dataset(*reader, i);
        if (strncmp(name, "features/", 9) != 0)
            CHANGING_OK(flip_container_copy_dataset(w, *reader, NULL, name));
    }
    return w;
}

static void end_copy(flip_writer *w, flip_reader *reader) {
    CHANGING_OK(flip_writer_commit(w));
    flip_writer_destroy(&w);
    flip_reader_close(&reader);
}

/* A packed file's rows of features that change. */
typedef struct packed {
    int64_t n, stride;
    int64_t *node;
    int32_t *step;
    uint8_t *codes;
    flip_codec *codec;
} packed;

static packed read_packed(const flip_reader *r) {
    packed p = {0};
    int64_t dims[3];
    CHANGING_OK(flip_reader_shape(r, "features/codes", dims, NULL));
    CHANGING_OK(flip_container_codec(&p.codec, r));
    p.n = dims[0];
    p.stride = dims[1];
    p.node = malloc((size_t)p.n * sizeof *p.node);
    p.step = calloc((size_t)p.n, sizeof *p.step);
    p.codes = malloc((size_t)(p.n * p.stride));
    CHANGING_OK(flip_reader_rows(r, "features/codes", FLIP_TYPE_U8, 0, p.n, p.codes));
    for (int64_t i = 0; i < p.n; i++)
        p.node[i] = i;
    if (!flip_reader_has(r, "features/node")) return p;
    CHANGING_OK(flip_reader_rows(r, "features/node", FLIP_TYPE_I64, 0, p.n, p.node));
    CHANGING_OK(flip_reader_rows(r, "features/step", FLIP_TYPE_I32, 0, p.n, p.step));
    return p;
}

static void drop_packed(packed *p) {
    free(p->node);
    free(p->step);
    free(p->codes);
    flip_codec_destroy(&p->codec);
}

/* The same graph with the numbers that codes stand for. */
static void decode(const char *from, const char *to) {
    flip_reader *r = NULL;
    flip_writer *w = copy_of(from, to, &r);
    packed p = read_packed(r);
    int32_t dim = flip_codec_packing(p.codec)->dim;
    float *rows = malloc((size_t)(p.n * dim) * sizeof *rows);
    CHANGING_OK(flip_codec_decode(p.codec, p.n, p.codes, p.node, rows));
    CHANGING_OK(
        flip_writer_rows(w, "features/node", FLIP_TYPE_I64, FLIP_TYPE_I64, p.n, 0, 0, p.node));
    CHANGING_OK(
        flip_writer_rows(w, "features/step", FLIP_TYPE_I32, FLIP_TYPE_I32, p.n, 0, 0, p.step));
    CHANGING_OK(
        flip_writer_rows(w, "features/values", FLIP_TYPE_F32, FLIP_TYPE_F32, p.n, dim, 0, rows));
    end_copy(w, r);
    drop_packed(&p);
    free(rows);
}

#endif
