/* The metrics of link prediction as JSON, for the report and for evaluate --json. */
#ifndef FLIPBOOK_TRAIN_LINK_JSON_H
#define FLIPBOOK_TRAIN_LINK_JSON_H

#include <flipbook/train.h>
#include <jansson.h>

/* {"valid": {"map": …, "mrr": …, "mrr_filtered": …, "auc": …, "true_pairs": …}, "test": {…},
 * "candidates": …, "definition": …}; a new reference. */
json_t *flip_link_json(const flip_result *result);

#endif
