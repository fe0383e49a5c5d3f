/* Features of word indices: words and hashed n-grams of words. `textmodel.ngrams` is the specification. */

#ifndef NGRAMS_H
#define NGRAMS_H

#include "features.h"

enum { MAX_ORDERS = 3 };

typedef struct {
    uint32_t num_words;
    uint32_t mask;       /* buckets - 1 */
    uint32_t first_word; /* smaller indices are reserved */
    uint32_t orders;     /* longest n-gram */
} NGrams;

/* One step of a rolling hash. */
static inline uint32_t hash_step(uint32_t hash, uint32_t item)
{
    uint32_t product = (hash + item) * 663608941;
    return product ^ product >> 15;
}

/* Returns the room that `count_ngrams` needs for a text of `words` words. */
size_t max_ngrams(const NGrams *ngrams, size_t words);

/* Counts the text's features, and prefetches their rows of the layer. `counts` needs room for `max_ngrams` features. */
void count_ngrams(const NGrams *ngrams, const uint32_t *indices, size_t words, const Layer *layer,
                  FeatureCounts *counts);

#endif
