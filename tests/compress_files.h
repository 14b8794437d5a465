/* Files of compress in a folder of their own, for its tests on several ranks. */
#ifndef FLIPBOOK_TESTS_COMPRESS_FILES_H
#define FLIPBOOK_TESTS_COMPRESS_FILES_H

#include "ranks.h"

#include <flipbook/compress.h>
#include <flipbook/graph.h>
#include <flipbook/partition.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static flip_comm *world, *alone;
static char folder[64];
static int rank;

static const char *path_of(const char *name) {
    static char paths[8][160];
    static int turn;
    char *path = paths[turn++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s.h5", folder, name);
    return path;
}

static void begin_files(int *argc, char ***argv) {
    MPI_Init(argc, argv);
    CHECK_OK(flip_comm_create(&world, MPI_COMM_WORLD));
    CHECK_OK(flip_comm_create(&alone, MPI_COMM_SELF));
    rank = flip_comm_rank(world);
    if (rank == 0) {
        const char *base = getenv("TMPDIR");
        snprintf(folder, sizeof folder, "%.40s/flipXXXXXX", base ? base : "/tmp");
        CHECK(mkdtemp(folder), "no folder");
    }
    CHECK_OK(flip_comm_broadcast(world, folder, sizeof folder, 0));
}

static void end_files(const char *const *names, size_t n) {
    MPI_Barrier(MPI_COMM_WORLD);
    for (size_t i = 0; rank == 0 && i < n; i++)
        unlink(path_of(names[i]));
    if (rank == 0) rmdir(folder);
    flip_comm_destroy(&alone);
    flip_comm_destroy(&world);
    MPI_Finalize();
}

static void expect_same_file(const char *a, const char *b) {
    FILE *x = fopen(path_of(a), "rb"), *y = fopen(path_of(b), "rb");
    CHECK(x && y, "%s or %s is not there", a, b);
    for (int c = 0, d; c != EOF;) {
        c = fgetc(x);
        d = fgetc(y);
        CHECK(c == d, "%s and %s differ in byte %ld", a, b, ftell(x));
    }
    fclose(x);
    fclose(y);
}

/* What a graph without events begins with; comm: its rank 0 writes all. */
static void write_head(flip_writer *w, flip_comm *comm, int64_t n_nodes, int64_t n_steps) {
    int64_t mine = flip_comm_rank(comm) == 0 ? n_nodes + 1 : 0, *zeros;
    zeros = calloc((size_t)n_nodes + 1, sizeof *zeros);
    static int32_t none[1];
    CHECK_OK(flip_writer_attribute_i64(w, "/", "n_nodes", n_nodes));
    CHECK_OK(flip_writer_attribute_i64(w, "/", "n_steps", n_steps));
    CHECK_OK(flip_writer_attribute_i64(w, "/", "n_classes", 0));
    CHECK_OK(flip_writer_attribute_i64(w, "/", "undirected", 0));
    CHECK_OK(flip_writer_rows(w, "events/indptr", FLIP_TYPE_I64, FLIP_TYPE_I64, mine, 0, 0, zeros));
    CHECK_OK(flip_writer_rows(w, "events/src", FLIP_TYPE_I32, FLIP_TYPE_I32, 0, 0, 0, none));
    if (n_steps > 1)
        CHECK_OK(flip_writer_rows(w, "events/step", FLIP_TYPE_I32, FLIP_TYPE_I32, 0, 0, 0, none));
    free(zeros);
}

/* Collective over comm. */
static flip_compressed compress(flip_comm *comm, const char *from, const char *to,
                                flip_compress_params params) {
    flip_compressed out;
    flip_reader *reader = NULL;
    CHECK_OK(flip_reader_open(&reader, comm, path_of(from), "graph"));
    CHECK_OK(flip_compress(&out, comm, reader, path_of(to), &params));
    flip_reader_close(&reader);
    return out;
}

static void expect_compress_refused(flip_comm *comm, const char *from, flip_compress_params p,
                                    flip_status wanted, const char *words) {
    flip_reader *reader = NULL;
    flip_compressed out;
    CHECK_OK(flip_reader_open(&reader, comm, path_of(from), "graph"));
    flip_status status = flip_compress(&out, comm, reader, path_of("bad"), &p);
    CHECK(status == wanted && strstr(flip_error_message(), words), "expected '%s', found '%s'",
          words, flip_error_message());
    flip_error_clear();
    flip_compressed_finish(&out);
    flip_reader_close(&reader);
}

/* `check` and opening refuse "bad" with these words. */
static void expect_refused(const char *checked, const char *opened) {
    flip_graph *graph = NULL;
    flip_status status = flip_container_check(path_of("bad"), NULL);
    CHECK(status == FLIP_ERROR_INPUT && strstr(flip_error_message(), checked),
          "expected '%s', found '%s'", checked, flip_error_message());
    flip_error_clear();
    status = flip_graph_open(&graph, alone, path_of("bad"), NULL);
    CHECK(status == FLIP_ERROR_INPUT && strstr(flip_error_message(), opened),
          "expected '%s', found '%s'", opened, flip_error_message());
    flip_error_clear();
    flip_graph_close(&graph);
}

static void cut(const char *from, const char *to, int32_t n_parts) {
    flip_partition_params params = FLIP_PARTITION_DEFAULTS;
    flip_partition *parts = NULL;
    flip_reader *reader = NULL;
    params.n_parts = n_parts;
    CHECK_OK(flip_reader_open(&reader, world, path_of(from), "graph"));
    CHECK_OK(flip_partition_compute(&parts, world, reader, &params));
    CHECK_OK(flip_partition_write(world, reader, parts, &params, path_of(to)));
    flip_partition_destroy(&parts);
    flip_reader_close(&reader);
}

/* A codec of this name, learned from 40 rows. */
static flip_codec *small_codec(const char *name, int32_t dim) {
    flip_codec *codec = NULL;
    float x[40 * 8];
    for (int i = 0; i < 40 * 8; i++)
        x[i] = (float)((i * 37) % 101);
    CHECK_OK(flip_codec_train(&codec, name, dim, 40, x, 1, NULL, NULL));
    return codec;
}

#endif
