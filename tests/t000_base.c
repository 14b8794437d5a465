/* base: errors keep the first message, arenas give memory back, draws are pure and uniform. */
#include <flipbook/base.h>

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

static void error_keeps_first(void **state) {
    (void)state;
    flip_error_clear();
    assert_int_equal(FLIP_FAIL(FLIP_ERROR_INPUT, "row %d", 7), FLIP_ERROR_INPUT);
    FLIP_FAIL(FLIP_ERROR_IO, "later");
    assert_string_equal(flip_error_message(), "row 7");
    flip_error_clear();
    assert_string_equal(flip_error_message(), "");
}

static void narrow_refuses(void **state) {
    (void)state;
    int32_t out = 0;
    assert_int_equal(flip_narrow(&out, INT32_MAX, "n"), FLIP_OK);
    assert_int_equal(flip_narrow(&out, (int64_t)INT32_MAX + 1, "n"), FLIP_ERROR_INPUT);
    flip_error_clear();
}

static void alloc_refuses_overflow(void **state) {
    (void)state;
    void *memory = NULL;
    assert_int_equal(flip_alloc(&memory, SIZE_MAX / 2, 4, "test"), FLIP_ERROR_MEMORY);
    assert_null(memory);
    flip_error_clear();
}

static void arena_marks(void **state) {
    (void)state;
    flip_arena *arena = NULL;
    char *a, *b, *c;
    assert_int_equal(flip_arena_create(&arena, "test"), FLIP_OK);
    assert_int_equal(flip_arena_alloc(arena, &a, 100, 1), FLIP_OK);
    flip_mark mark = flip_arena_mark(arena);
    assert_int_equal(flip_arena_alloc(arena, &b, 9u << 20, 1), FLIP_OK);
    memset(b, 1, 9u << 20);
    size_t peak = flip_arena_used(arena);
    flip_arena_reset(arena, mark);
    assert_int_equal(flip_arena_used(arena), 128);
    assert_int_equal(flip_arena_alloc(arena, &c, 9u << 20, 1), FLIP_OK);
    assert_int_equal((uintptr_t)c % 64, 0);
    assert_int_equal(flip_arena_peak(arena), peak);
    flip_arena_destroy(&arena);
    assert_null(arena);
}

static void draws(void **state) {
    (void)state;
    double sum = 0, square = 0;
    for (uint64_t i = 0; i < 20000; i++) {
        double z = flip_random_normal(3, FLIP_STREAM_TEST, 1, i);
        sum += z;
        square += z * z;
        assert_true(flip_random_below(3, FLIP_STREAM_TEST, 2, i, 7) < 7);
    }
    assert_true(fabs(sum / 20000) < 0.03);
    assert_true(fabs(square / 20000 - 1) < 0.05);
    flip_random4 x = flip_random(1, FLIP_STREAM_TEST, 2, 3),
                 y = flip_random(1, FLIP_STREAM_TEST, 2, 3),
                 z = flip_random(1, FLIP_STREAM_INIT, 2, 3);
    assert_memory_equal(&x, &y, sizeof x);
    assert_memory_not_equal(&x, &z, sizeof x);
}

static void permute_is_a_bijection(void **state) {
    (void)state;
    static unsigned char seen[1000];
    for (int64_t n = 1; n <= 1000; n = n * 3 + 1) {
        memset(seen, 0, sizeof seen);
        for (int64_t x = 0; x < n; x++) {
            int64_t y = flip_random_permute(7, FLIP_STREAM_TEST, n, x);
            assert_in_range(y, 0, n - 1);
            assert_int_equal(seen[y]++, 0);
            assert_int_equal(flip_random_permute_back(7, FLIP_STREAM_TEST, n, y), x);
        }
    }
    int64_t big = ((int64_t)1 << 40) - 3;
    for (int64_t x = 0; x < 1000; x++) {
        int64_t y = flip_random_permute(7, FLIP_STREAM_TEST, big, x * 1000003);
        assert_int_equal(flip_random_permute_back(7, FLIP_STREAM_TEST, big, y), x * 1000003);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(error_keeps_first),
                                       cmocka_unit_test(narrow_refuses),
                                       cmocka_unit_test(alloc_refuses_overflow),
                                       cmocka_unit_test(arena_marks),
                                       cmocka_unit_test(draws),
                                       cmocka_unit_test(permute_is_a_bijection)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
