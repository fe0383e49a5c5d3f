/* N-gram features: see ngrams.h. */

#include "ngrams.h"

#include <math.h>
#include <string.h>

static const uint32_t HASH_MULTIPLIER = 663608941;

static uint32_t step(uint32_t hash, uint32_t index)
{
    uint32_t product = (hash + index) * HASH_MULTIPLIER;
    return product ^ product >> 15;
}

NGrams ngrams(uint32_t num_words, uint32_t buckets, uint32_t first_word, uint32_t orders, int log_counts)
{
    NGrams ngrams = {
        .num_words = num_words,
        .mask = buckets - 1,
        .first_word = first_word,
        .orders = orders,
        .log_counts = log_counts,
    };
    for (int count = 1; count < SMALL_COUNTS; count++) {
        ngrams.weights[count] = log_counts ? 1 + logf((float)count) : 1;
    }
    return ngrams;
}

/* ---- Every window ---- */

/* Writes the feature of each window, and returns how many there are. One that turns out to be none is written over by
   the next: whether a window holds an unknown word is a branch that the processor guesses wrongly. */
static size_t list_windows(const NGrams *ngrams, const uint32_t *indices, size_t words, uint32_t *features)
{
    size_t count = 0;
    uint32_t before = 0, before2 = 0; /* hashes of the windows of one word and of two that end at the word before */
    uint32_t run = 0;                 /* known words up to this one */
    for (size_t i = 0; i < words; i++) {
        uint32_t index = indices[i];
        run = index < ngrams->first_word ? 0 : run + 1;
        features[count] = index;
        count += run >= 1;
        if (ngrams->orders >= 2) {
            uint32_t pair = step(before, index);
            features[count] = ngrams->num_words + (pair & ngrams->mask);
            count += run >= 2;
            if (ngrams->orders >= 3) {
                features[count] = ngrams->num_words + (step(before2, index) & ngrams->mask);
                count += run >= 3;
                before2 = pair;
            }
            before = step(0, index);
        }
    }
    return count;
}

/* ---- Every feature once ---- */

static const uint32_t EMPTY = UINT32_MAX; /* no feature */

/* At most a quarter full: hardly ever is a feature's slot another's. 2^31 are more than there are features at all. */
static uint32_t slot_bits(size_t features)
{
    uint32_t bits = 4;
    while ((size_t)1 << bits < 4 * features && bits < 31) {
        bits++;
    }
    return bits;
}

size_t most_features(const NGrams *ngrams, size_t words)
{
    return ngrams->orders * words + MOST_ORDERS;
}

size_t slots_for(size_t features)
{
    return (size_t)1 << slot_bits(features);
}

/*
 * Drops repetitions, counts them, and returns how many features are left. A feature goes to a place that has been read
 * already, or to its own. Without branches on what the processor cannot guess: whether a feature is a repetition.
 */
static size_t count_distinct(uint32_t *features, size_t count, uint32_t *counts, FeatureSlot *seen, const Layer *layer)
{
    uint32_t bits = slot_bits(count);
    uint32_t last = (1u << bits) - 1;
    memset(seen, 0xFF, ((size_t)last + 1) * sizeof *seen); /* EMPTY */
    uint32_t distinct = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t feature = features[i];
        prefetch_row(layer, feature); /* at the pace of this loop: all at once would be more than are served */
        uint32_t slot = feature * 0x9E3779B1 >> (32 - bits);
        while ((uint64_t)(seen[slot].feature ^ feature) * (seen[slot].feature ^ EMPTY) != 0) { /* is neither */
            slot = (slot + 1) & last;
        }
        uint32_t is_new = seen[slot].feature == EMPTY;
        uint32_t repeated = is_new - 1; /* all bits or none */
        uint32_t at = (seen[slot].at & repeated) | (distinct & ~repeated);
        seen[slot] = (FeatureSlot){feature, at};
        counts[at] = (counts[at] & repeated) + 1;
        features[at] = feature;
        distinct += is_new;
    }
    return distinct;
}

/* ---- Together ---- */

size_t find_features(const NGrams *ngrams, const uint32_t *indices, size_t words, const Layer *layer, Windows *windows)
{
    size_t count = list_windows(ngrams, indices, words, windows->features);
    size_t distinct = count_distinct(windows->features, count, windows->counts, windows->seen, layer);
    for (size_t i = 0; i < distinct; i++) {
        uint32_t times = windows->counts[i];
        if (times < SMALL_COUNTS) {
            windows->weights[i] = ngrams->weights[times];
        } else {
            windows->weights[i] = ngrams->log_counts ? 1 + logf((float)times) : 1;
        }
    }
    return distinct;
}
