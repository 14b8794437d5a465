/* What goes from one container to another as it is: attributes and whole datasets. */
#include <flipbook/container.h>

#include <string.h>

enum { WINDOW_BYTES = 4 << 20, TEXT_BYTES = 4096 };

typedef struct attribute {
    const char *object, *name;
    enum { WHOLE, REAL, TEXT } kind;
} attribute;

static const attribute attributes[] = {{"/", "n_nodes", WHOLE},
                                       {"/", "n_steps", WHOLE},
                                       {"/", "n_classes", WHOLE},
                                       {"/", "undirected", WHOLE},
                                       {"/", "step_zero", REAL},
                                       {"/", "step_width", REAL},
                                       {"/", "creator", TEXT},
                                       {"features", "n_columns", WHOLE},
                                       {"features", "allow_nan", WHOLE},
                                       {"features", "norm", TEXT},
                                       {"features", "native_bytes", WHOLE},
                                       {"features", "relative_error", REAL},
                                       {"features", "refined_error", REAL},
                                       {"features", "learned_first", WHOLE},
                                       {"features", "learned_steps", WHOLE},
                                       {"partition", "method", TEXT},
                                       {"partition", "objective", TEXT},
                                       {"partition", "balance", TEXT},
                                       {"partition", "reason", TEXT},
                                       {"partition", "n_parts", WHOLE},
                                       {"partition", "seed", WHOLE},
                                       {"partition", "cut", WHOLE},
                                       {"partition", "full_halo", WHOLE},
                                       {"partition", "full_crossing", REAL},
                                       {"partition", "imbalance", REAL},
                                       {"partition", "node_balance", REAL},
                                       {"partition", "edge_balance", REAL}};

static flip_status copy_attribute(flip_writer *writer, const flip_reader *reader,
                                  const attribute *a) {
    int64_t whole = 0;
    double real = 0;
    char text[TEXT_BYTES];
    switch (a->kind) {
    case WHOLE:
        FLIP_TRY(flip_reader_attribute_i64(reader, a->object, a->name, &whole));
        return flip_writer_attribute_i64(writer, a->object, a->name, whole);
    case REAL:
        FLIP_TRY(flip_reader_attribute_f64(reader, a->object, a->name, &real));
        return flip_writer_attribute_f64(writer, a->object, a->name, real);
    default:
        FLIP_TRY(flip_reader_attribute_text(reader, a->object, a->name, text, sizeof text));
        return flip_writer_attribute_text(writer, a->object, a->name, text);
    }
}

flip_status flip_container_copy_attributes(flip_writer *writer, const flip_reader *reader,
                                           const char *object) {
    for (size_t i = 0; i < sizeof attributes / sizeof *attributes; i++) {
        const attribute *a = &attributes[i];
        if (strcmp(a->object, object) == 0 && flip_reader_has_attribute(reader, object, a->name))
            FLIP_TRY(copy_attribute(writer, reader, a));
    }
    return FLIP_OK;
}

flip_status flip_container_copy_dataset(flip_writer *writer, const flip_reader *reader,
                                        flip_comm *comm, const char *name) {
    int64_t dims[3];
    flip_type type;
    char *window;
    FLIP_TRY(flip_reader_shape(reader, name, dims, &type));
    int64_t numbers = (dims[1] ? dims[1] : 1) * (dims[2] ? dims[2] : 1);
    size_t bytes = (size_t)numbers * flip_type_size(type);
    int64_t most = (int64_t)(WINDOW_BYTES / bytes) + 1;
    bool mine = flip_comm_rank(comm) == 0;
    FLIP_TRY(flip_comm_agree(comm, flip_alloc(&window, mine ? (size_t)most : 1, bytes, name)));
    flip_status status = FLIP_OK;
    for (int64_t first = 0; (first < dims[0] || first == 0) && status == FLIP_OK; first += most) {
        int64_t n = dims[0] - first < most ? dims[0] - first : most;
        if (mine && n > 0) status = flip_reader_rows(reader, name, type, first, n, window);
        status = flip_comm_agree(comm, status);
        if (status == FLIP_OK)
            status =
                flip_writer_rows(writer, name, type, type, mine ? n : 0, dims[1], dims[2], window);
    }
    flip_free(window);
    return status;
}
