/* Copies ahead of the kernels, in a stream of their own and out of pinned memory: the host fills a
 * piece of it while the pieces before travel, and waits for that piece's last copy alone: no longer
 * than for what `after` stands for and the copies behind that. */
#include "kernels/cuda.h"

enum { PIECES = 8, PIECE_BYTES = FLIP_STAGING_BYTES / PIECES };

static cudaStream_t copies;
static char *staging;     /* pinned: [PIECES, PIECE_BYTES] */
static void *out[PIECES]; /* the end of the last copy out of each piece; NULL: there was none */
static int next_piece;
static void *sent; /* the end of all that was sent ahead */
static uint64_t bytes_ahead;

/* With the first bytes: many runs send nothing ahead. */
static bool open_copies(void) {
    if (staging) return true;
    if (!copies) FLIP_CUDA_DO(cudaStreamCreateWithFlags(&copies, cudaStreamNonBlocking));
    if (copies) FLIP_CUDA_DO(cudaMallocHost((void **)&staging, FLIP_STAGING_BYTES));
    if (staging) FLIP_NAME_MEMORY(staging, "what is sent ahead");
    return staging != NULL;
}

static void mark_end(void **event) {
    flip_cuda_mark(event, flip_cuda_stream);
}

static void send_piece(char *to, const char *host, size_t bytes) {
    char *piece = staging + (size_t)next_piece * PIECE_BYTES;
    void **end = &out[next_piece];
    next_piece = (next_piece + 1) % PIECES;
    if (*end) flip_cuda_wait_event(*end);
    memcpy(piece, host, bytes);
    FLIP_CUDA_DO(cudaMemcpyAsync(to, piece, bytes, cudaMemcpyHostToDevice, copies));
    flip_cuda_mark(end, copies);
}

static void send_ahead(void *to, const void *host, size_t bytes, void *after) {
    const size_t most = PIECE_BYTES;
    if (bytes == 0 || flip_cuda_spoil() || !open_copies()) return;
    if (after) FLIP_CUDA_DO(cudaStreamWaitEvent(copies, (cudaEvent_t)after, 0));
    for (size_t at = 0, n; at < bytes; at += n) {
        n = bytes - at < most ? bytes - at : most;
        send_piece((char *)to + at, (const char *)host + at, n);
    }
    bytes_ahead += bytes;
    flip_cuda_sent += bytes;
}

static void join_ahead(void) {
    if (!copies || flip_cuda_spoil()) return;
    flip_cuda_mark(&sent, copies);
    FLIP_CUDA_DO(cudaStreamWaitEvent(flip_cuda_stream, (cudaEvent_t)sent, 0));
}

static flip_device_counts counts(void) {
    return flip_device_counts{flip_cuda_waits,    bytes_ahead,       flip_cuda_sent,
                              flip_cuda_received, flip_cuda_replays, flip_cuda_replayed};
}

void flip_use_cuda_ahead(flip_kernels *table) {
    table->mark_end = mark_end;
    table->drop_end = flip_cuda_drop;
    table->send_ahead = send_ahead;
    table->join_ahead = join_ahead;
    table->counts = counts;
}
