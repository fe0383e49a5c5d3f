/* The distinct features of a text, with their counts and term weights. */

#ifndef FEATURES_H
#define FEATURES_H

#include "layers.h"

#include <stddef.h>
#include <stdint.h>

enum { SMALL_COUNTS = 64 };

/* The weight of a count: 1 (binary), or 1 + ln(count) (log). `small` caches the weights of small counts. */
typedef struct {
    int log;
    float small[SMALL_COUNTS];
} CountWeights;

/* A slot of a hash table with open addressing. */
typedef struct {
    uint32_t feature;
    uint32_t at; /* position in FeatureCounts.features */
} FeatureSlot;

/* The features of one text while they are counted. The arrays are (distinct,). */
typedef struct {
    uint32_t *features;
    uint32_t *counts;
    float *weights;
    FeatureSlot *seen; /* (slots_for(maximum number of distinct features),) */
    uint32_t bits;     /* log2 of the number of slots in use for this text */
    size_t distinct;
} FeatureCounts;

CountWeights count_weights(int log);

/* Returns the size of the hash table for `features` distinct features. */
size_t slots_for(size_t features);

/* Clears the counts, for a text with at most `max_distinct` distinct features. */
void start_counting(FeatureCounts *counts, size_t max_distinct);

/* Counts features, and prefetches their rows of the layer. `features` may be `counts->features` in the first call after
   `start_counting`. */
void count_features(FeatureCounts *counts, const uint32_t *features, size_t count, const Layer *layer);

/* Fills `counts->weights`. */
void weigh_features(const CountWeights *weights, FeatureCounts *counts);

#endif
