/* The distinct features of a text, how often it has each, and what that weighs. */

#ifndef FEATURES_H
#define FEATURES_H

#include "layers.h"

#include <stddef.h>
#include <stdint.h>

enum { SMALL_COUNTS = 64 };

/* What a count weighs: 1, or 1 + ln(count). */
typedef struct {
    int log;
    float small[SMALL_COUNTS];
} CountWeights;

/* A slot of a hash table with open addressing. */
typedef struct {
    uint32_t feature;
    uint32_t at; /* its place among the distinct ones */
} FeatureSlot;

/* What one text's features are counted in. */
typedef struct {
    uint32_t *features; /* the distinct ones */
    uint32_t *counts;
    float *weights;
    FeatureSlot *seen; /* (slots_for(most distinct features),) */
    uint32_t bits;     /* log2 of how many of the slots are in use */
    size_t distinct;
} FeatureCounts;

CountWeights count_weights(int log);

/* Slots to find so many distinct features with. */
size_t slots_for(size_t features);

/* Forgets all features; there will be so many distinct ones at most. */
void start_counting(FeatureCounts *counts, size_t most);

/* Counts features, and asks for their rows of the layer. `features` may be those of `counts`, if nothing is counted
   yet. */
void count_features(FeatureCounts *counts, const uint32_t *features, size_t count, const Layer *layer);

void weigh_features(const CountWeights *weights, FeatureCounts *counts);

#endif
