/*
 * A bag-of-words network, from a text to its probabilities.
 *
 * The first layer multiplies a sparse vector by its kernel: a sum of the kernel's rows, one for each distinct word or
 * n-gram of the text. A text costs a pass over its bytes and one short row for each distinct feature.
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
    Composition composition; /* empty: texts are read as they are */
    Vectorizer vectorizer;
    Vocabulary vocabulary; /* none for hashed n-grams */
    uint32_t start;        /* the index that every multi-hot vector holds */
    NGrams ngrams;
    HashedNGrams hashed;
    CountWeights weights; /* of both n-grams */
    int normalize;
    Layer *layers;
    size_t layer_count;
    size_t widest; /* blocks */
    size_t classes;
} Network;

/* What one call works in, so that calls at the same time share nothing that changes. All in one piece of memory: to ask
   for each part costs more than a short text. */
typedef struct {
    void *memory;
    uint8_t *text;     /* what it is read as */
    uint32_t *indices; /* of its words */
    uint32_t *rows;    /* multi-hot: the distinct indices, and room for one more */
    uint8_t *held;     /* multi-hot: (size of the vocabulary,), 1 at these; zeros between texts */
    HashedScratch hashed;
    FeatureCounts counts; /* both n-grams */
    Lanes *sums[2];       /* what goes into a layer and what comes out of it, in turns */
} Scratch;

/* A text's words and features. */
typedef struct {
    size_t words;
    size_t known;
    size_t features;
} Counts;

void network_free(Network *network);

/* Room for texts of up to so many bytes. Returns -1 without memory. */
int scratch_init(Scratch *scratch, const Network *network, size_t longest);

void scratch_free(Scratch *scratch);

/* Finds the text's distinct features, in the scratch's `rows` or `counts`. */
Counts vectorize(const Network *network, Text text, Scratch *scratch);

/* Replaces each text that may change under NFC by its composed form, if the network reads that. The copies go into
   `copies`, (count,), which is NULL for all others. Returns -1 without memory; free them then too. */
int compose_texts(const Network *network, Text *texts, size_t count, void **copies);

/* Writes the text's probabilities, (classes,). */
Counts classify(const Network *network, Text text, Scratch *scratch, float *probabilities);

/* Composes texts and fills probabilities, (count, classes), and words and known words, (count,). Returns -1 without
   memory. */
int classify_all(const Network *network, Text *texts, size_t count, float *probabilities, int32_t *words,
                 int32_t *known_words);

#endif
