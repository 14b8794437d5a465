/* What the *.cu files use of CUB, on the emulated device: one thread sorts. The result always lies
 * in the other buffer. */
#ifndef FLIPBOOK_EMULATION_CUB_H
#define FLIPBOOK_EMULATION_CUB_H

#include <cuda_runtime.h>

#include <algorithm>
#include <vector>

namespace cub {

template <typename type> struct DoubleBuffer {
    type *d_buffers[2];
    int selector = 0;
    DoubleBuffer(type *current, type *other) : d_buffers{current, other} {}
    type *Current() const {
        return d_buffers[selector];
    }
    type *Alternate() const {
        return d_buffers[!selector];
    }
};

template <typename keys, typename values>
static void flip_emulated_sort(const keys *from, const values *value, keys *to, values *to_value,
                               int64_t n, int begin, int end) {
    const keys digits =
        end - begin < (int)(8 * sizeof(keys)) ? ((keys)1 << (end - begin)) - 1 : ~(keys)0;
    std::vector<int64_t> order((size_t)n);
    for (int64_t i = 0; i < n; i++)
        order[(size_t)i] = i;
    std::stable_sort(order.begin(), order.end(), [=](int64_t a, int64_t b) {
        return (from[a] >> begin & digits) < (from[b] >> begin & digits);
    });
    for (int64_t i = 0; i < n; i++) {
        to[i] = from[order[(size_t)i]];
        to_value[i] = value[order[(size_t)i]];
    }
}

struct DeviceRadixSort {
    template <typename keys, typename values>
    static cudaError_t SortPairs(void *room, size_t &bytes, DoubleBuffer<keys> &key,
                                 DoubleBuffer<values> &value, int64_t n, int begin, int end,
                                 cudaStream_t stream) {
        if (!room) {
            bytes = 1;
            return cudaSuccess;
        }
        flip_emulated_grid(stream, "cub::DeviceRadixSort::SortPairs",
                           flip_emulated_sort<keys, values>, 1, dim3(1), 0,
                           (const keys *)key.Current(), (const values *)value.Current(),
                           key.Alternate(), value.Alternate(), n, begin, end);
        key.selector = !key.selector;
        value.selector = !value.selector;
        return cudaSuccess;
    }
};

} // namespace cub

#endif
