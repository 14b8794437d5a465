/* Passes that come again, as CUDA graphs: between `record` and `record_end` what the stream is
 * given is captured and not done; `replay` launches all of it in one call, as often as it is asked
 * for.
 *
 * That takes away the host's work for the pass, the tape's as well as a launch a kernel, and most
 * of the gaps between short kernels; it makes no kernel quicker, and a pass of long kernels gains
 * nothing. (To capture every pass and update the graph by it would allow any change from pass to
 * pass, but the host would capture, compare and launch one after the other, and the GPU would wait
 * meanwhile: for a chain of short kernels no less than the launches cost.)
 *
 * A replay is what was captured to the byte: addresses, sizes and numbers. Therefore
 *   - it stands as long as no memory of the device is given back;
 *   - what differs from pass to pass lies in a few words of the device's memory, which kernels read
 *     while a pass is recorded (flip_cuda_now): how far dropout's draws went on, Adam's factors;
 *   - whatever else goes between host and device spoils a recording, and takes or gives back memory
 *     in it: then nothing was done, and the pass is to be called again, unrecorded.
 * cuBLAS has its workspace from the start (cuda_gemm.cu) and takes no memory while it is captured.
 */
#include "kernels/cuda.h"

#include <stdlib.h>

struct flip_recording {
    cudaGraphExec_t graph;
    uint64_t nodes;      /* kernels, copies and sets */
    uint64_t given_back; /* flip_cuda_given_back when it was recorded */
};

const flip_cuda_now *flip_cuda_recorded_now;
uint64_t flip_cuda_replays, flip_cuda_replayed;
static flip_cuda_room room; /* of a flip_cuda_now */
static bool spoiled;

bool flip_cuda_spoil(void) {
    if (!flip_cuda_recorded_now) return false;
    spoiled = true;
    return true;
}

/* FLIP_CUDA_GRAPHS=off: nothing is recorded. */
static bool allowed(void) {
    const char *said = getenv("FLIP_CUDA_GRAPHS");
    return !said || strcmp(said, "off") != 0;
}

static bool record(void) {
    if (!allowed()) return false;
    void *now = flip_cuda_reserve(&room, sizeof(flip_cuda_now), "what differs from pass to pass");
    if (!now) return false;
    /* other threads may call CUDA meanwhile: MPI's, say */
    if (cudaStreamBeginCapture(flip_cuda_stream, cudaStreamCaptureModeThreadLocal) != cudaSuccess) {
        (void)cudaGetLastError();
        return false;
    }
    spoiled = false;
    flip_cuda_recorded_now = static_cast<const flip_cuda_now *>(now);
    return true;
}

static flip_recording *keep(cudaGraph_t graph) {
    size_t nodes = 0;
    flip_recording *r = static_cast<flip_recording *>(calloc(1, sizeof *r));
    if (!r) return NULL;
    r->given_back = flip_cuda_given_back;
    if (cudaGraphGetNodes(graph, NULL, &nodes) == cudaSuccess &&
        cudaGraphInstantiateWithFlags(&r->graph, graph, 0) == cudaSuccess) {
        r->nodes = nodes;
        return r;
    }
    free(r);
    return NULL;
}

static flip_recording *record_end(void) {
    cudaGraph_t graph = NULL;
    flip_recording *r = NULL;
    flip_cuda_recorded_now = NULL;
    const cudaError_t error = cudaStreamEndCapture(flip_cuda_stream, &graph);
    if (error == cudaSuccess && !spoiled) r = keep(graph);
    if (graph) (void)cudaGraphDestroy(graph);
    (void)cudaGetLastError(); /* whatever it was, the pass is called again, and tells */
    return r;
}

static bool replay(flip_recording *r, uint64_t draws, const flip_adam_step *adam) {
    const flip_cuda_now now = {draws, adam ? flip_cuda_adam_rate(adam) : 0,
                               adam ? flip_cuda_adam_root(adam) : 0};
    if (r->given_back != flip_cuda_given_back) return false;
    FLIP_CUDA_DO(
        cudaMemcpyAsync(room.memory, &now, sizeof now, cudaMemcpyHostToDevice, flip_cuda_stream));
    flip_cuda_sent += sizeof now;
    FLIP_CUDA_DO(cudaGraphLaunch(r->graph, flip_cuda_stream));
    flip_cuda_replays++;
    flip_cuda_replayed += r->nodes;
    return true;
}

/* A launch under way goes on. */
static void drop_recording(flip_recording **out) {
    flip_recording *r = *out;
    if (!r) return;
    FLIP_CUDA_DO(cudaGraphExecDestroy(r->graph));
    free(r);
    *out = NULL;
}

void flip_use_cuda_graphs(flip_kernels *table) {
    table->record = record;
    table->record_end = record_end;
    table->replay = replay;
    table->drop_recording = drop_recording;
}
