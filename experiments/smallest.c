/* A complete program: a two-layer GCN on a static graph file, on any number of ranks.
 *
 *   mpirun -n 2 ./smallest graph.h5
 */
#include <flipbook.h>
#include <stdio.h>

static flip_status train(flip_comm *comm, const char *path) {
    flip_graph *graph = NULL;
    flip_adjacency *adjacency = NULL;
    flip_params *params = NULL;
    flip_model *model = NULL;
    flip_optimiser *adam = NULL;
    flip_tape *tape = NULL;
    uint8_t *train = NULL;
    flip_status status;

    /* this rank's share of the graph, and the matrix the model multiplies with */
    FLIP_TRY_GOTO(flip_graph_open(&graph, comm, path, NULL));
    const flip_graph_info *about = flip_graph_about(graph);
    flip_model_params shape = FLIP_MODEL_DEFAULTS;
    shape.kind = FLIP_MODEL_GCN;
    shape.in_dim = about->n_features;
    shape.out_dim = about->n_classes;
    flip_adjacency_params matrix = {.kind = flip_model_adjacency(&shape), .n_steps = 1};
    FLIP_TRY_GOTO(flip_adjacency_create(&adjacency, comm, flip_graph_rank_first(graph),
                                        flip_graph_original(graph), flip_graph_events(graph),
                                        &matrix));

    /* parameters, their optimiser, and the tape that remembers what was computed */
    FLIP_TRY_GOTO(flip_params_create(&params));
    FLIP_TRY_GOTO(flip_model_create(&model, params, &shape));
    FLIP_TRY_GOTO(flip_params_finish(params, 1 /* seed */));
    flip_optimiser_params how = FLIP_OPTIMISER_DEFAULTS;
    FLIP_TRY_GOTO(flip_optimiser_create(&adam, params, &how));
    flip_tape_params on = {.comm = comm,
                           .params = params,
                           .key = flip_graph_original(graph),
                           .n_own = flip_graph_n_own(graph)};
    FLIP_TRY_GOTO(flip_tape_create(&tape, &on));

    /* the loss counts the nodes that split 0 of the file says are for training */
    const int8_t *split = flip_graph_split(graph, 0);
    if (!split || !flip_graph_labels(graph) || !flip_graph_features(graph))
        FLIP_TRY_GOTO(FLIP_FAIL(FLIP_ERROR_INPUT, "'%s' lacks features, labels or splits", path));
    FLIP_TRY_GOTO(flip_alloc(&train, (size_t)on.n_own, 1, "training mask"));
    for (int32_t i = 0; i < on.n_own; i++)
        train[i] = split[i] == 0;
    flip_labels labels = {.label = flip_graph_labels(graph), .mask = train};

    for (int epoch = 1; epoch <= 100; epoch++) {
        flip_tape_reset(tape, true, epoch);
        flip_params_clear_gradients(params);
        flip_block all = {.adjacency = adjacency,
                          .features = flip_graph_features(graph),
                          .steps = 1,
                          .n_blocks = 1};
        flip_var logits = flip_model_forward(model, tape, &all);
        flip_var loss = flip_cross_entropy(tape, logits, &labels);
        FLIP_TRY_GOTO(flip_tape_backward(tape, loss));
        if (flip_comm_rank(comm) == 0 && epoch % 20 == 0)
            printf("epoch %d  loss %.6f\n", epoch, flip_tape_scalar(tape, loss));
        FLIP_TRY_GOTO(flip_params_reduce(params, comm));
        FLIP_TRY_GOTO(flip_optimiser_step(adam));
    }
    status = FLIP_OK;
done:
    flip_free(train);
    flip_tape_destroy(&tape);
    flip_optimiser_destroy(&adam);
    flip_model_destroy(&model);
    flip_params_destroy(&params);
    flip_adjacency_destroy(&adjacency);
    flip_graph_close(&graph);
    return status;
}

int main(int argc, char **argv) {
    int provided;
    flip_comm *comm = NULL;
    MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &provided);
    flip_status status = flip_comm_create(&comm, MPI_COMM_WORLD);
    if (status == FLIP_OK) status = train(comm, argc > 1 ? argv[1] : "graph.h5");
    if (status != FLIP_OK) {
        fprintf(stderr, "smallest: %s\n", flip_error_message());
        MPI_Abort(MPI_COMM_WORLD, flip_exit_code(status));
    }
    flip_comm_destroy(&comm);
    MPI_Finalize();
    return 0;
}
