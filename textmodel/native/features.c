/* Distinct features: see features.h. */

#include "features.h"

#include <math.h>
#include <string.h>

static const uint32_t EMPTY = UINT32_MAX; /* marks a free slot */

CountWeights count_weights(int log)
{
    CountWeights weights = {.log = log};
    for (int count = 1; count < SMALL_COUNTS; count++) {
        weights.small[count] = log ? 1 + logf((float)count) : 1;
    }
    return weights;
}

/* The table is at most a quarter full, so collisions are rare. 31 bits suffice: features are below INT32_MAX. */
static uint32_t slot_bits(size_t features)
{
    uint32_t bits = 4;
    while ((size_t)1 << bits < 4 * features && bits < 31) {
        bits++;
    }
    return bits;
}

size_t slots_for(size_t features)
{
    return (size_t)1 << slot_bits(features);
}

void start_counting(FeatureCounts *counts, size_t max_distinct)
{
    counts->bits = slot_bits(max_distinct);
    counts->distinct = 0;
    memset(counts->seen, 0xFF, sizeof(FeatureSlot) << counts->bits); /* EMPTY */
}

/* May run in place: the write position never passes the read position. Whether a feature repeats is unpredictable, so
   no branch depends on it. */
void count_features(FeatureCounts *counts, const uint32_t *features, size_t count, const Layer *layer)
{
    const uint32_t bits = counts->bits, last = (1u << bits) - 1;
    FeatureSlot *seen = counts->seen;
    uint32_t distinct = (uint32_t)counts->distinct;
    for (size_t i = 0; i < count; i++) {
        uint32_t feature = features[i];
        prefetch_row(layer, feature); /* one per iteration: a burst would exceed the processor's outstanding loads */
        uint32_t slot = feature * 0x9E3779B1 >> (32 - bits);
        /* Until the slot has this feature or is free. */
        while ((uint64_t)(seen[slot].feature ^ feature) * (seen[slot].feature ^ EMPTY) != 0) {
            slot = (slot + 1) & last;
        }
        uint32_t is_new = seen[slot].feature == EMPTY;
        uint32_t repeated = is_new - 1; /* all bits or none */
        uint32_t at = (seen[slot].at & repeated) | (distinct & ~repeated);
        seen[slot] = (FeatureSlot){feature, at};
        counts->counts[at] = (counts->counts[at] & repeated) + 1;
        counts->features[at] = feature;
        distinct += is_new;
    }
    counts->distinct = distinct;
}

void weigh_features(const CountWeights *weights, FeatureCounts *counts)
{
    for (size_t i = 0; i < counts->distinct; i++) {
        uint32_t count = counts->counts[i];
        if (count < SMALL_COUNTS) {
            counts->weights[i] = weights->small[count];
        } else {
            counts->weights[i] = weights->log ? 1 + logf((float)count) : 1;
        }
    }
}
