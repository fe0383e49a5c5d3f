/* Hashed n-grams of words and characters: the specification is `textmodel.hashed_ngrams`. */

#ifndef HASHED_NGRAMS_H
#define HASHED_NGRAMS_H

#include "features.h"
#include "tokenizer.h"

enum { MAX_CHARACTERS = 6, MAX_WORDS = 3 };

/* 64 buckets: a bit mask of those that are kept, and the number of kept buckets before these 64. */
typedef struct {
    uint64_t kept;
    uint64_t before;
} Buckets;

typedef struct {
    uint32_t words; /* longest n-gram of words; 0: none */
    uint32_t min;   /* shortest n-gram of characters */
    uint32_t max;   /* longest n-gram of characters; 0: none */
    int across_words;
    uint32_t mask; /* number of buckets - 1 */
    size_t rows;   /* number of kept buckets */
    Buckets *buckets;
    uint8_t *known_words; /* a bit for each hash of a known word, lowest bit first */
    uint32_t known_mask;  /* number of bits - 1 */
} HashedNGrams;

/* The working memory for one text. All but the last two arrays have an element for each character of its stream. */
typedef struct {
    uint32_t *codes;   /* code points */
    uint8_t *kinds;
    uint32_t *hashes;  /* hash of the n-gram that starts here; later the hashes of the words */
    uint32_t *longest; /* maximum length of an n-gram that starts here */
    uint32_t *begins;  /* (words,) */
    uint32_t *word_ends;
} HashedScratch;

typedef struct {
    size_t words;
    size_t known;
} WordCounts;

/* Marks the buckets `kept`, (rows,), as kept; they are in ascending order and below `buckets`, a power of two. Copies
   the bits of known words, `bytes` bytes, a power of two. Returns -1 if out of memory. */
int hashed_init(HashedNGrams *ngrams, const int32_t *kept, size_t rows, uint32_t buckets, const uint8_t *known_words,
                size_t bytes);

void hashed_free(HashedNGrams *ngrams);

/* Returns the maximum length of the stream of a text of `length` bytes, including room to read ahead. */
size_t max_stream(size_t length);

/* Returns the maximum number of distinct features of a text of `length` bytes. */
size_t max_hashed(const HashedNGrams *ngrams, size_t length);

/* Counts the rows of the text's features, and its words. Prefetches these rows of the layer. `counts` needs room for
   `max_hashed` features, and `scratch` for `max_stream` characters. */
WordCounts count_hashed(const HashedNGrams *ngrams, const CharTable *table, Text text, const Layer *layer,
                        HashedScratch *scratch, FeatureCounts *counts);

#endif
