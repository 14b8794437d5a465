/* libFuzzer target: any bytes are read as an edge list or refused with a message; never a crash, a
 * leak or an unsorted result. Build with clang and -Dfuzz=true, then
 *   build/tests/fuzz_edges -max_len=4096 -max_total_time=300 /tmp/found tests/corpus */
#include "edges_from_bytes.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    edges_from_bytes(bytes, size);
    return 0;
}
