/* The 64-bit words of a graph difference, packed; kernels/changes.c takes them apart. */
#include "graph/timeline.h"

enum { FLOAT_BITS = 32 };

flip_word_form flip_word_form_of(int32_t n_rows, int32_t n_cols) {
    const int place = flip_bits_telling(n_cols), left = 64 - flip_bits_telling(n_rows) - place;
    return (flip_word_form){.place_bits = place,
                            .value_bits = left < FLOAT_BITS ? left : FLOAT_BITS};
}

static uint64_t follows(const flip_word_form *form) {
    return ((uint64_t)1 << form->value_bits) - 1;
}

static bool small_number(const flip_word_form *form, flip_real value) {
    return value >= 0 && value < (flip_real)follows(form) && value == (flip_real)(uint64_t)value;
}

bool flip_word_fits(const flip_word_form *form, flip_real value) {
    return form->value_bits == FLOAT_BITS || small_number(form, value);
}

bool flip_word_pack(const flip_word_form *form, uint64_t key, flip_real value, uint64_t *word) {
    uint64_t bits = follows(form);
    bool fits;
    if (form->value_bits == FLOAT_BITS) {
        const float narrow = (float)value;
        uint32_t pattern;
        memcpy(&pattern, &narrow, sizeof pattern);
        fits = (flip_real)narrow == value; /* a NaN follows */
        if (fits) bits = pattern;
    } else {
        fits = small_number(form, value);
        if (fits) bits = (uint64_t)value;
    }
    *word = ((((uint64_t)flip_key_row(key) << form->place_bits) | (uint64_t)flip_key_place(key))
             << form->value_bits) |
            bits;
    return fits;
}
