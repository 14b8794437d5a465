/* Streams and events. Work waits in its stream until somebody synchronises, so that what is read
 * too early or reused too early shows; and two streams that use the same memory with nothing
 * between them are told, whichever came first. */
#include "streams.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

static flip_emulated_stream streams[MOST_STREAMS]; /* 0: the default stream */
static unsigned n_streams = 1;
static clocks host;
std::recursive_mutex flip_emulated_mutex;

flip_emulated_stream *flip_emulated_stream_of(cudaStream_t stream) {
    return stream ? stream : &streams[0];
}

/* ---- doing ---- */

static void drain(flip_emulated_stream *s, uint64_t up_to);

static void do_copy(const work *w) {
    const void *from = w->kept.empty() ? w->from : w->kept.data();
    const void *sides[2] = {w->to, w->from};
    for (const void *side : sides) {
        flip_emulated_allocation *a = flip_emulated_find(side, w->bytes);
        if (a) flip_emulated_open(a);
    }
    if (w->kind == work::SET)
        memset(w->to, w->value, w->bytes);
    else
        memmove(w->to, from, w->bytes);
    flip_emulated_close(false);
}

static void do_call(const work *w) {
    for (const flip_emulated_span &s : w->spans) {
        flip_emulated_allocation *a = flip_emulated_find(s.memory, s.bytes);
        if (a) flip_emulated_open(a);
    }
    w->perform();
    flip_emulated_close(false);
}

static void do_work(work *w) {
    switch (w->kind) {
    case work::KERNEL:
        w->kernel.arguments = w->kept.data();
        flip_emulated_perform(&w->kernel);
        break;
    case work::COPY:
    case work::SET:
        do_copy(w);
        break;
    case work::RECORD:
        break; /* done: it is counted */
    case work::WAIT:
        drain(w->other, w->number);
        break;
    case work::CALL:
        do_call(w);
        break;
    }
}

/* Works up to this one are done, as far as none of them waits for another process: false then. */
static bool try_drain(flip_emulated_stream *s, uint64_t up_to) {
    while (s->n_done < up_to) {
        work *front = &s->works.front();
        if (front->kind == work::CALL && !front->ready()) return false;
        if (front->kind == work::WAIT && !try_drain(front->other, front->number)) return false;
        drain(s, s->n_done + 1);
    }
    return true;
}

static void drain(flip_emulated_stream *s, uint64_t up_to) {
    static int depth;
    if (s->n_done >= up_to) return;
    depth++;
    while (s->n_done < up_to) {
        while (s->works.front().kind == work::CALL && !s->works.front().ready())
            sched_yield();
        work w = std::move(s->works.front());
        s->works.pop_front();
        s->waiting_bytes -= w.kept.size();
        s->n_done++;
        do_work(&w);
    }
    if (--depth == 0) flip_emulated_close(true);
}

/* Done, as far as the host knows. */
static void synchronise(flip_emulated_stream *s) {
    drain(s, s->n_begun);
    host.join(s->known);
}

static void synchronise_all(void) {
    for (unsigned s = 0; s < n_streams; s++)
        synchronise(&streams[s]);
}

/* ---- submitting ---- */

static work *submit(flip_emulated_stream *s) {
    s->known.join(host);
    s->known.of[s->index]++;
    s->n_begun++;
    s->works.emplace_back();
    return &s->works.back();
}

static void submitted(flip_emulated_stream *s) {
    s->waiting_bytes += s->works.back().kept.size();
    if (flip_emulated_options_get()->eager || s->works.size() > MOST_WAITING ||
        s->waiting_bytes > MOST_WAITING_BYTES)
        drain(s, s->n_begun);
}

/* The stream's newest work uses bytes [from, to) of an allocation: earlier uses by other streams
 * must be known to be done by then, unless both only read. */
static void use(flip_emulated_stream *s, flip_emulated_allocation *a, size_t from, size_t to,
                bool writes, const char *what) {
    size_t left = 0;
    for (const flip_emulated_use &u : a->uses) {
        const bool overlap = from < u.to && u.from < to;
        if (u.stream != s->index && overlap && (writes || u.writes) &&
            s->known.of[u.stream] < u.clock)
            flip_emulated_fail("%s (stream %u) and %s (stream %u) both use '%s' + %zu bytes with "
                               "no event or wait between them",
                               u.what, u.stream, what, s->index, a->name,
                               from > u.from ? from : u.from);
        const bool covered =
            u.stream == s->index && from <= u.from && u.to <= to && writes >= u.writes;
        if (!covered && host.of[u.stream] < u.clock) a->uses[left++] = u;
    }
    a->uses.resize(left);
    a->uses.push_back({s->index, s->known.of[s->index], from, to, writes, what});
}

/* One side of a copy: the allocation, or NULL for the host's ordinary memory where that may be. */
static flip_emulated_allocation *side(const void *memory, size_t bytes, bool may_be_host,
                                      const char *what) {
    flip_emulated_allocation *a = flip_emulated_find(memory, bytes);
    if (a && !(may_be_host && !a->pinned)) return a;
    flip_emulated_allocation *near = flip_emulated_near(memory);
    if (a) flip_emulated_fail("%s: '%s' is the device's memory, not the host's", what, a->name);
    if (near)
        flip_emulated_fail("%s: %zu bytes at %zd of %s'%s' (%zu bytes) are out of bounds", what,
                           bytes, (const char *)memory - near->start, near->freed ? "freed " : "",
                           near->name, near->bytes);
    if (!may_be_host)
        flip_emulated_fail("%s: %p is neither the device's memory nor pinned", what, memory);
    return NULL;
}

static size_t offset(const flip_emulated_allocation *a, const void *memory) {
    return (size_t)((const char *)memory - a->start);
}

/* NULL: the host's ordinary memory, or what was kept of it; SET has no source. */
static void find_sides(const work *w, flip_emulated_allocation **to,
                       flip_emulated_allocation **from) {
    *to = side(w->to, w->bytes, w->way == cudaMemcpyDeviceToHost, w->what);
    *from = w->kind == work::SET || !w->kept.empty()
                ? NULL
                : side(w->from, w->bytes, w->way == cudaMemcpyHostToDevice, w->what);
}

/* Where arrays share an allocation, how long they are is not known: then a pointer stands for its
 * first byte. */
static void use_reach(flip_emulated_stream *s, const work *w) {
    for (const flip_emulated_reach &r : w->kernel.reach) {
        const size_t at = offset(r.allocation, r.pointer);
        if (r.allocation->freed)
            flip_emulated_fail("kernel %s, launched again: '%s' was freed since", w->what,
                               r.allocation->name);
        use(s, r.allocation, at, r.allocation->divided ? at + 1 : r.allocation->bytes, r.writes,
            w->what);
    }
}

static void use_sides(flip_emulated_stream *s, const work *w) {
    flip_emulated_allocation *to, *from;
    find_sides(w, &to, &from);
    if (from) use(s, from, offset(from, w->from), offset(from, w->from) + w->bytes, false, w->what);
    if (to) use(s, to, offset(to, w->to), offset(to, w->to) + w->bytes, true, w->what);
}

void flip_emulated_put(flip_emulated_stream *s, work &&w) {
    if (s == &streams[0]) (void)flip_emulated_refuse_all(); /* it would wait for the others */
    if (s->capture) {
        s->capture->works.push_back(std::move(w));
        return;
    }
    work *mine = submit(s);
    *mine = std::move(w);
    if (mine->kind == work::KERNEL) use_reach(s, mine);
    if (mine->kind == work::COPY || mine->kind == work::SET) use_sides(s, mine);
    submitted(s);
}

void flip_emulated_launch(cudaStream_t stream, const char *name, int64_t blocks, dim3 threads,
                          size_t shared, flip_emulated_thread thread, const void *call,
                          size_t bytes, const flip_emulated_argument *arguments, int n_arguments) {
    ENTER;
    if (blocks < 0 || blocks > INT32_MAX)
        flip_emulated_fail("kernel %s: %lld blocks", name, (long long)blocks);
    work w = {};
    w.kind = work::KERNEL;
    w.what = name;
    w.kernel = {name, (unsigned)blocks, threads, shared, thread, NULL, {}};
    w.kept.assign((const char *)call, (const char *)call + bytes);
    flip_emulated_reached(&w.kernel, arguments, n_arguments);
    flip_emulated_put(flip_emulated_stream_of(stream), std::move(w));
}

/* A capture keeps no pageable memory: a real device would read it at the launch, or refuse. */
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
    ENTER;
    flip_emulated_stream *s = flip_emulated_stream_of(stream);
    static const char *const names[] = {NULL, "copy host to device", "copy device to host",
                                        "copy device to device"};
    if (bytes == 0) return cudaSuccess;
    work w = {};
    w.kind = work::COPY;
    w.what = names[kind];
    w.way = kind;
    w.to = to;
    w.from = from;
    w.bytes = bytes;
    flip_emulated_allocation *target, *source;
    find_sides(&w, &target, &source);
    if (!target || !source) REFUSE(flip_emulated_refuse(s, cudaErrorStreamCaptureUnsupported));
    if (!source) w.kept.assign((const char *)from, (const char *)from + bytes);
    flip_emulated_put(s, std::move(w));
    if (!target) synchronise(s); /* pageable memory is written before the call returns */
    return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void *to, int value, size_t bytes, cudaStream_t stream) {
    ENTER;
    if (bytes == 0) return cudaSuccess;
    work w = {};
    w.kind = work::SET;
    w.what = "memset";
    w.to = to;
    w.from = to;
    w.value = value;
    w.bytes = bytes;
    side(to, bytes, false, w.what);
    flip_emulated_put(flip_emulated_stream_of(stream), std::move(w));
    return cudaSuccess;
}

void flip_emulated_library(cudaStream_t stream, const char *what,
                           const std::vector<flip_emulated_span> &spans,
                           const std::function<bool()> &ready,
                           const std::function<void()> &perform) {
    ENTER;
    flip_emulated_stream *s = flip_emulated_stream_of(stream);
    if (s->capture) flip_emulated_fail("%s in a capture, which keeps kernels alone", what);
    std::vector<flip_emulated_allocation *> reached;
    for (const flip_emulated_span &span : spans) {
        flip_emulated_allocation *a = side(span.memory, span.bytes, false, what);
        if (a->pinned) flip_emulated_fail("%s: '%s' is the host's memory", what, a->name);
        reached.push_back(a);
    }
    work *w = submit(s);
    w->kind = work::CALL;
    w->spans = spans;
    w->ready = ready;
    w->perform = perform;
    for (size_t i = 0; i < spans.size(); i++) {
        const size_t at = offset(reached[i], spans[i].memory);
        use(s, reached[i], at, at + spans[i].bytes, spans[i].writes, what);
    }
}

void flip_emulated_go_on(cudaStream_t stream) {
    ENTER;
    flip_emulated_stream *s = flip_emulated_stream_of(stream);
    drain(s, s->n_begun);
}

void flip_emulated_ended(cudaStream_t stream, const flip_emulated_span &span, const void *data) {
    ENTER;
    flip_emulated_allocation *a = flip_emulated_find(span.memory, span.bytes);
    if (!a) flip_emulated_fail("memory was given back that a message was still using");
    if (span.writes) {
        flip_emulated_open(a);
        memcpy(span.memory, data, span.bytes);
        flip_emulated_close(true);
    }
    const size_t from = offset(a, span.memory), to = from + span.bytes;
    size_t left = 0;
    for (const flip_emulated_use &u : a->uses)
        if (u.stream != stream->index || u.from < from || u.to > to) a->uses[left++] = u;
    a->uses.resize(left);
}

/* ---- streams ---- */

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned) {
    ENTER;
    for (unsigned s = 1; s < MOST_STREAMS; s++)
        if (!streams[s].live) {
            streams[s].index = s;
            streams[s].live = true;
            if (s >= n_streams) n_streams = s + 1;
            *stream = &streams[s];
            return cudaSuccess;
        }
    return cudaErrorInvalidValue;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
    ENTER;
    REFUSE(flip_emulated_refuse(stream, cudaErrorStreamCaptureUnsupported));
    synchronise(stream);
    stream->live = false;
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
    ENTER;
    flip_emulated_stream *s = flip_emulated_stream_of(stream);
    REFUSE(flip_emulated_refuse(s, cudaErrorStreamCaptureUnsupported));
    synchronise(s);
    return cudaSuccess;
}

cudaError_t cudaStreamQuery(cudaStream_t stream) {
    ENTER;
    flip_emulated_stream *s = flip_emulated_stream_of(stream);
    REFUSE(flip_emulated_refuse(s, cudaErrorStreamCaptureUnsupported));
    if (!try_drain(s, s->n_begun)) return cudaErrorNotReady;
    host.join(s->known);
    return cudaSuccess;
}

/* ---- events ---- */

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned) {
    *event = new flip_emulated_event();
    return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
    ENTER;
    for (flip_emulated_stream &s : streams)
        for (work &w : s.works)
            if (w.event == event) w.event = NULL; /* released when its record is done */
    delete event;
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
    ENTER;
    flip_emulated_stream *s = flip_emulated_stream_of(stream);
    event->captured = s->capture != NULL;
    if (event->captured) return cudaSuccess; /* works of one stream follow each other */
    work *w = submit(s);
    w->kind = work::RECORD;
    w->event = event;
    event->stream = s;
    event->known = s->known;
    event->number = s->n_begun;
    submitted(s);
    return cudaSuccess;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
    ENTER;
    flip_emulated_stream *s = flip_emulated_stream_of(stream);
    if (event->captured && s->capture) return cudaSuccess; /* its own */
    if (event->captured) flip_emulated_fail("a stream joins a capture, which has one alone");
    REFUSE(flip_emulated_refuse(s, cudaErrorStreamCaptureIsolation));
    if (!event->stream) return cudaSuccess; /* never recorded */
    work *w = submit(s);
    w->kind = work::WAIT;
    w->other = event->stream;
    w->number = event->number;
    s->known.join(event->known);
    submitted(s);
    return cudaSuccess;
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
    ENTER;
    if (event->captured) return cudaErrorCapturedEvent;
    REFUSE(flip_emulated_refuse_all());
    if (event->stream && event->stream->n_done < event->number) {
        try_drain(event->stream, event->number);
        return cudaErrorNotReady;
    }
    host.join(event->known);
    return cudaSuccess;
}

/* ---- memory: giving back waits for everything ---- */

cudaError_t cudaMalloc(void **out, size_t bytes) {
    ENTER;
    REFUSE(flip_emulated_refuse_all());
    return flip_emulated_allocate(out, bytes, false);
}

cudaError_t cudaFree(void *memory) {
    ENTER;
    REFUSE(flip_emulated_refuse_all());
    synchronise_all();
    if (memory) flip_emulated_release(memory, false);
    return cudaSuccess;
}

cudaError_t cudaMallocHost(void **out, size_t bytes) {
    ENTER;
    REFUSE(flip_emulated_refuse_all());
    return flip_emulated_allocate(out, bytes, true);
}

cudaError_t cudaFreeHost(void *memory) {
    ENTER;
    REFUSE(flip_emulated_refuse_all());
    synchronise_all();
    if (memory) flip_emulated_release(memory, true);
    return cudaSuccess;
}
