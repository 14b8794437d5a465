/* CUDA graphs: what a stream is given during a capture is kept, not done; a launch gives it all to
 * a stream again, where it is done and checked as if every work had come by itself. One stream a
 * capture, no graphs within graphs. What a capture cannot hold makes it invalid, as on a device:
 * waiting, taking and giving back memory, pageable memory, events from outside, the default stream.
 */
#include "streams.h"

static std::vector<flip_emulated_stream *> capturing;

cudaError_t flip_emulated_refuse(flip_emulated_stream *s, cudaError_t error) {
    if (!s->capture) return cudaSuccess;
    s->invalid = true;
    return error;
}

cudaError_t flip_emulated_refuse_all(void) {
    for (flip_emulated_stream *s : capturing)
        s->invalid = true;
    return capturing.empty() ? cudaSuccess : cudaErrorStreamCaptureUnsupported;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
    ENTER;
    flip_emulated_stream *s = flip_emulated_stream_of(stream);
    if (!stream) return cudaErrorStreamCaptureUnsupported;
    if (s->capture) return cudaErrorIllegalState;
    s->capture = new flip_emulated_graph();
    s->invalid = false;
    capturing.push_back(s);
    return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph) {
    ENTER;
    flip_emulated_stream *s = flip_emulated_stream_of(stream);
    *graph = NULL;
    if (!s->capture) return cudaErrorIllegalState;
    flip_emulated_graph *captured = s->capture;
    s->capture = NULL;
    for (size_t i = 0; i < capturing.size(); i++)
        if (capturing[i] == s) capturing.erase(capturing.begin() + (ptrdiff_t)i--);
    if (!s->invalid) {
        *graph = captured;
        return cudaSuccess;
    }
    delete captured;
    return cudaErrorStreamCaptureInvalidated;
}

cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t *nodes, size_t *n) {
    if (nodes) flip_emulated_fail("cudaGraphGetNodes: nodes are counted alone");
    *n = graph->works.size();
    return cudaSuccess;
}

cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t *exec, cudaGraph_t graph,
                                          unsigned long long) {
    ENTER;
    *exec = new flip_emulated_graph(*graph);
    return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
    ENTER;
    flip_emulated_stream *s = flip_emulated_stream_of(stream);
    if (s->capture) flip_emulated_fail("a graph is launched in a capture");
    for (const work &w : exec->works)
        flip_emulated_put(s, work(w));
    return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
    delete graph;
    return cudaSuccess;
}

/* Launches under way have their own works. */
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
    delete exec;
    return cudaSuccess;
}
