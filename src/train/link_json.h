/* Metrics in words, as train and evaluate print them, and those of link prediction as JSON. */
#ifndef FLIPBOOK_TRAIN_LINK_JSON_H
#define FLIPBOOK_TRAIN_LINK_JSON_H

#include <flipbook/train.h>
#include <jansson.h>
#include <stdio.h>

enum { FLIP_VALUE_SIZE = 32 };

/* "0.1234"; "undefined" where a metric has no value: no items, AUC of one class. Returns text. */
const char *flip_value_words(char text[FLIP_VALUE_SIZE], double value);

/* A line for validation and one for test, then what was ranked and what the metric means. */
void flip_link_say(FILE *out, const flip_result *result);

/* {"valid": {"map": …, "mrr": …, "mrr_filtered": …, "auc": …, "true_pairs": …}, "test": {…},
 * "candidates": …, "definition": …}; a new reference. */
json_t *flip_link_json(const flip_result *result);

#endif
