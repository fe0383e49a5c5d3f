/* The features of a text, its words and hashed n-grams: the specification is `textmodel.ngrams`. */

#ifndef NGRAMS_H
#define NGRAMS_H

#include "features.h"

enum { MAX_ORDERS = 3 };

typedef struct {
    uint32_t num_words;
    uint32_t mask;       /* buckets - 1 */
    uint32_t first_word; /* indices below are no words */
    uint32_t orders;
} NGrams;

/* One step of a rolling hash. */
static inline uint32_t hash_step(uint32_t hash, uint32_t item)
{
    uint32_t product = (hash + item) * 663608941;
    return product ^ product >> 15;
}

/* Features of so many words, at most, and room for those that turn out to be none. */
size_t max_ngrams(const NGrams *ngrams, size_t words);

/* Counts the text's features. The layer's rows of them are on their way when it returns. `counts` has room for
   `max_ngrams`. */
void count_ngrams(const NGrams *ngrams, const uint32_t *indices, size_t words, const Layer *layer,
                  FeatureCounts *counts);

#endif
