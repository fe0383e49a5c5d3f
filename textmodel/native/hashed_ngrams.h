/* Hashed n-grams of words and characters: the specification is `textmodel.hashed_ngrams`. */

#ifndef HASHED_NGRAMS_H
#define HASHED_NGRAMS_H

#include "features.h"
#include "tokenizer.h"

enum { MAX_CHARACTERS = 6, MAX_WORDS = 3 };

/* 64 buckets: which are kept, and how many are before them. */
typedef struct {
    uint64_t kept;
    uint64_t before;
} Buckets;

typedef struct {
    uint32_t words; /* the longest n-gram of words, 0 for none */
    uint32_t min;   /* of characters */
    uint32_t max;   /* 0 for none */
    int across_words;
    uint32_t mask; /* how many buckets, less one */
    size_t rows;   /* buckets that are kept */
    Buckets *buckets;
    uint8_t *known_words; /* a bit for each hash of a word, lowest bit first */
    uint32_t known_mask;  /* how many bits, less one */
} HashedNGrams;

/* What one text is worked on in. */
typedef struct {
    uint32_t *codes;  /* of the stream */
    uint8_t *kinds;   /* of its characters */
    uint32_t *hashes; /* of the n-grams that start at each; then of the words */
    uint32_t *longest; /* n-gram that may start at each */
    uint32_t *begins; /* of words */
    uint32_t *word_ends;
} HashedScratch;

typedef struct {
    size_t words;
    size_t known;
} WordCounts;

/* Marks the buckets `kept`, (rows,), which rise and are below `buckets`, a power of two, and copies the known words, so
   many bytes, a power of two too. Returns -1 without memory. */
int hashed_init(HashedNGrams *ngrams, const int32_t *kept, size_t rows, uint32_t buckets, const uint8_t *known_words,
                size_t bytes);

void hashed_free(HashedNGrams *ngrams);

/* Characters of the stream of a text of so many bytes, at most, and room to read ahead. */
size_t max_stream(size_t length);

/* Distinct features of a text of so many bytes, at most. */
size_t max_hashed(const HashedNGrams *ngrams, size_t length);

/* Counts the rows of the text's features, and its words. The layer's rows of them are on their way when it returns.
   `counts` has room for `max_hashed`, and `scratch` for `max_stream`. */
WordCounts count_hashed(const HashedNGrams *ngrams, const CharTable *table, Text text, const Layer *layer,
                        HashedScratch *scratch, FeatureCounts *counts);

#endif
