/* The features of a text, its words and hashed n-grams: the specification is `textmodel.ngrams`. */

#ifndef NGRAMS_H
#define NGRAMS_H

#include "layers.h"

#include <stddef.h>
#include <stdint.h>

enum { MOST_ORDERS = 3, SMALL_COUNTS = 64 };

typedef struct {
    uint32_t num_words;
    uint32_t mask;       /* buckets - 1 */
    uint32_t first_word; /* indices below are no words */
    uint32_t orders;
    int log_counts;
    float weights[SMALL_COUNTS]; /* of a count */
} NGrams;

/* A slot of a hash table with open addressing. */
typedef struct {
    uint32_t feature;
    uint32_t at; /* its place among the distinct ones */
} FeatureSlot;

/* What one text is worked on in. */
typedef struct {
    uint32_t *features; /* (most_features,), with repetitions; afterwards, the distinct ones */
    uint32_t *counts;   /* (most_features,) */
    float *weights;     /* (most_features,) */
    FeatureSlot *seen;         /* (slots_for(most_features),) */
} Windows;

NGrams ngrams(uint32_t num_words, uint32_t buckets, uint32_t first_word, uint32_t orders, int log_counts);

/* Features of so many words, at most, and room for those that turn out to be none. */
size_t most_features(const NGrams *ngrams, size_t words);

/* Slots to find the distinct ones of so many features with. */
size_t slots_for(size_t features);

/* Finds the text's distinct features and their counts and weights, and returns how many there are. The layer's rows of
   them are on their way when it returns. */
size_t find_features(const NGrams *ngrams, const uint32_t *indices, size_t words, const Layer *layer, Windows *windows);

#endif
