/* Streams and their works, as streams.cpp does them and graphs.cpp keeps them. */
#ifndef FLIPBOOK_EMULATION_STREAMS_H
#define FLIPBOOK_EMULATION_STREAMS_H

#include "emulation.h"

#include <deque>
#include <mutex>

enum { MOST_STREAMS = 64, MOST_WAITING = 512, MOST_WAITING_BYTES = 64 << 20 };

/* How far each stream's work is known to be done, or to come before: happens-before. */
struct clocks {
    uint64_t of[MOST_STREAMS];
    void join(const clocks &other) {
        for (int s = 0; s < MOST_STREAMS; s++)
            if (other.of[s] > of[s]) of[s] = other.of[s];
    }
};

struct flip_emulated_event {
    flip_emulated_stream *stream; /* where it was recorded last, or NULL */
    clocks known;
    uint64_t number; /* of its record among the stream's works */
    bool captured;   /* … in a capture: it stands for nothing outside */
};

struct work {
    enum { KERNEL, COPY, SET, RECORD, WAIT, CALL } kind;
    const char *what;
    flip_emulated_kernel kernel;
    std::vector<char> kept; /* the kernel's call, or pageable memory to be copied from */
    void *to;
    const void *from;
    cudaMemcpyKind way; /* COPY */
    int value;
    size_t bytes;
    flip_emulated_event *event;
    flip_emulated_stream *other; /* WAIT: for its works up to `number` */
    uint64_t number;
    std::vector<flip_emulated_span> spans; /* CALL */
    std::function<bool()> ready;
    std::function<void()> perform;
};

/* Works of one stream, in their order: kernels, copies and sets. */
struct flip_emulated_graph {
    std::vector<work> works;
};

struct flip_emulated_stream {
    unsigned index;
    bool live;
    clocks known;
    std::deque<work> works;
    uint64_t n_begun, n_done;
    size_t waiting_bytes;
    flip_emulated_graph *capture; /* what it is given goes there; NULL: it is done */
    bool invalid;                 /* the capture came to something that it cannot hold */
};

extern std::recursive_mutex flip_emulated_mutex;
#define ENTER                                                                                      \
    std::lock_guard<std::recursive_mutex> entered(flip_emulated_mutex);                            \
    flip_emulated_watch()

flip_emulated_stream *flip_emulated_stream_of(cudaStream_t stream);
/* The work becomes the stream's newest, or its capture's; memory that it uses is checked when it
 * becomes the stream's. */
void flip_emulated_put(flip_emulated_stream *s, work &&w);

/* ---- captures (graphs.cpp) ---- */

/* The stream's capture, if it has one, is invalid from now on: `error` then. */
cudaError_t flip_emulated_refuse(flip_emulated_stream *s, cudaError_t error);
/* The same of every capture: what the device as a whole waits for, or what no stream orders. */
cudaError_t flip_emulated_refuse_all(void);
#define REFUSE(call)                                                                               \
    do {                                                                                           \
        const cudaError_t refused_ = (call);                                                       \
        if (refused_ != cudaSuccess) return refused_;                                              \
    } while (0)

#endif
