/*
 * A bag-of-words network: computes the probabilities of a text.
 *
 * The first layer multiplies a sparse vector by its kernel: it adds up one row of the kernel for each distinct word or
 * n-gram of the text. So a text costs one pass over its bytes and one short row for each distinct feature.
 */

#ifndef NETWORK_H
#define NETWORK_H

#include "composition.h"
#include "features.h"
#include "hashed_ngrams.h"
#include "layers.h"
#include "ngrams.h"
#include "tokenizer.h"

typedef enum { MULTI_HOT, NGRAMS, HASHED_NGRAMS } Vectorizer;

typedef struct {
    CharTable table;
    Composition composition; /* empty: texts are not normalized to NFC */
    Vectorizer vectorizer;
    Vocabulary vocabulary; /* empty for hashed n-grams */
    uint32_t start;        /* index that is 1 in every multi-hot vector */
    NGrams ngrams;
    HashedNGrams hashed;
    CountWeights weights; /* for n-grams of both kinds */
    int normalize;
    Layer *layers;
    size_t layer_count;
    size_t widest; /* maximum number of blocks of a layer */
    size_t classes;
} Network;

/* The working memory of one call; concurrent calls share no mutable state. One allocation holds all parts: separate
   allocations would cost more than a short text. */
typedef struct {
    void *memory;
    uint8_t *text;     /* the normalized text */
    uint32_t *indices; /* word indices */
    uint32_t *rows;    /* multi-hot: the distinct indices, and room for one more */
    uint8_t *held;     /* multi-hot: (vocabulary.size,), 1 at the distinct indices; all 0 between texts */
    HashedScratch hashed;
    FeatureCounts counts; /* n-grams of both kinds */
    Lanes *sums[2];       /* input and output of a layer, swapped after each layer */
} Scratch;

/* Numbers of words, known words and distinct features of a text. */
typedef struct {
    size_t words;
    size_t known;
    size_t features;
} Counts;

void network_free(Network *network);

/* Allocates memory for texts of up to `longest` bytes. Returns -1 if out of memory. */
int scratch_init(Scratch *scratch, const Network *network, size_t longest);

void scratch_free(Scratch *scratch);

/* Writes the text's distinct features to `scratch->rows` (multi-hot) or `scratch->counts` (n-grams). */
Counts vectorize(const Network *network, Text text, Scratch *scratch);

/* Replaces each text that NFC may change by its composed form, if the network normalizes texts. `copies`, (count,),
   gets the memory of these forms, and NULL for other texts; the caller frees them. Returns -1 if out of memory; then
   too, free the copies. */
int compose_texts(const Network *network, Text *texts, size_t count, void **copies);

/* Computes the text's probabilities, (classes,). */
Counts classify(const Network *network, Text text, Scratch *scratch, float *probabilities);

/* Normalizes the texts, and fills probabilities, (count, classes), and words and known_words, (count,). Returns -1 if
   out of memory. */
int classify_all(const Network *network, Text *texts, size_t count, float *probabilities, int32_t *words,
                 int32_t *known_words);

#endif
