/* A bag-of-words network: see network.h. */

#include "network.h"

#include "memory.h"

#include <stdlib.h>
#include <string.h>

/* AddressSanitizer knows the bounds of an allocation, not of its parts. */
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
enum { GAP = CACHE_LINE };
#else
#define ASAN_POISON_MEMORY_REGION(begin, size)
enum { GAP = 0 };
#endif

void network_free(Network *network)
{
    vocabulary_free(&network->vocabulary);
    hashed_free(&network->hashed);
    for (size_t i = 0; i < network->layer_count; i++) {
        layer_free(&network->layers[i]);
    }
    free(network->layers);
}

/* Returns the next part of `memory`, in cache lines of its own. If `memory` is NULL, only advances `offset`. */
static void *take(uint8_t *memory, size_t *offset, size_t size)
{
    uint8_t *part = memory ? memory + *offset : NULL;
    size_t whole = (size + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE + GAP;
    *offset += whole;
    if (part) {
        ASAN_POISON_MEMORY_REGION(part + size, whole - size);
    }
    return part;
}

static void take_counts(FeatureCounts *counts, size_t features, uint8_t *memory, size_t *size)
{
    *counts = (FeatureCounts){
        .features = take(memory, size, features * sizeof(uint32_t)),
        .counts = take(memory, size, features * sizeof(uint32_t)),
        .weights = take(memory, size, features * sizeof(float)),
        .seen = take(memory, size, slots_for(features) * sizeof(FeatureSlot)),
    };
}

/* Returns the size of all parts of the scratch, and places them in `memory` unless it is NULL. */
static size_t lay_out(Scratch *scratch, const Network *network, size_t longest, uint8_t *memory)
{
    size_t words = max_words(longest), size = 0;
    *scratch = (Scratch){
        .memory = memory,
        .sums = {take(memory, &size, network->widest * sizeof(Lanes)),
                 take(memory, &size, network->widest * sizeof(Lanes))},
    };
    if (network->vectorizer == HASHED_NGRAMS) {
        size_t stream = max_stream(longest);
        scratch->hashed = (HashedScratch){
            .codes = take(memory, &size, stream * sizeof(uint32_t)),
            .kinds = take(memory, &size, stream),
            .hashes = take(memory, &size, stream * sizeof(uint32_t)),
            .longest = take(memory, &size, stream * sizeof(uint32_t)),
            .begins = take(memory, &size, stream * sizeof(uint32_t)),
            .word_ends = take(memory, &size, stream * sizeof(uint32_t)),
        };
        take_counts(&scratch->counts, max_hashed(&network->hashed, longest), memory, &size);
        return size;
    }
    scratch->text = take(memory, &size, text_buffer_size(longest));
    scratch->indices = take(memory, &size, words * sizeof(uint32_t));
    if (network->vectorizer == NGRAMS) {
        take_counts(&scratch->counts, max_ngrams(&network->ngrams, words), memory, &size);
    } else {
        scratch->rows = take(memory, &size, (network->vocabulary.size + 1) * sizeof(uint32_t));
        scratch->held = take(memory, &size, network->vocabulary.size);
    }
    return size;
}

int scratch_init(Scratch *scratch, const Network *network, size_t longest)
{
    uint8_t *memory = aligned_alloc(CACHE_LINE, lay_out(scratch, network, longest, NULL));
    if (!memory) {
        return -1;
    }
    lay_out(scratch, network, longest, memory);
    if (network->vectorizer == MULTI_HOT) {
        memset(scratch->held, 0, network->vocabulary.size);
    }
    return 0;
}

void scratch_free(Scratch *scratch)
{
    free(scratch->memory);
}

/* Writes the distinct indices, including `start`, to `scratch->rows`, and returns their number. */
static size_t find_indices(const Network *network, size_t words, Scratch *scratch)
{
    size_t distinct = 1;
    scratch->rows[0] = network->start;
    scratch->held[network->start] = 1;
    for (size_t i = 0; i < words; i++) {
        uint32_t index = scratch->indices[i];
        scratch->rows[distinct] = index;
        distinct += !scratch->held[index];
        scratch->held[index] = 1;
    }
    for (size_t i = 0; i < distinct; i++) {
        scratch->held[scratch->rows[i]] = 0;
    }
    return distinct;
}

static Counts vectorize_hashed(const Network *network, Text text, Scratch *scratch)
{
    WordCounts words =
        count_hashed(&network->hashed, &network->table, text, network->layers, &scratch->hashed, &scratch->counts);
    weigh_features(&network->weights, &scratch->counts);
    return (Counts){.words = words.words, .known = words.known, .features = scratch->counts.distinct};
}

Counts vectorize(const Network *network, Text text, Scratch *scratch)
{
    if (network->vectorizer == HASHED_NGRAMS) {
        return vectorize_hashed(network, text, scratch);
    }
    Counts counts = {.words = tokenize(&network->table, &network->vocabulary, text, scratch->text, scratch->indices)};
    for (size_t i = 0; i < counts.words; i++) {
        counts.known += scratch->indices[i] != network->vocabulary.unknown;
    }
    if (network->vectorizer == NGRAMS) {
        count_ngrams(&network->ngrams, scratch->indices, counts.words, network->layers, &scratch->counts);
        weigh_features(&network->weights, &scratch->counts);
        counts.features = scratch->counts.distinct;
    } else {
        counts.features = find_indices(network, counts.words, scratch);
    }
    return counts;
}

Counts classify(const Network *network, Text text, Scratch *scratch, float *probabilities)
{
    Counts counts = vectorize(network, text, scratch);
    Lanes *in = scratch->sums[0], *out = scratch->sums[1];
    for (size_t i = 0; i < network->layer_count; i++) {
        const Layer *layer = &network->layers[i];
        if (i > 0) {
            multiply(layer, (const float *)in, out);
        } else if (network->vectorizer != MULTI_HOT) {
            const FeatureCounts *found = &scratch->counts;
            add_scaled_rows(layer, found->features, found->weights, counts.features, network->normalize, out);
        } else {
            add_rows(layer, scratch->rows, counts.features, out);
        }
        activate(layer, (float *)out);
        Lanes *other = in;
        in = out;
        out = other;
    }
    const float *last = (const float *)in;
    if (network->layers[network->layer_count - 1].units == 1) {
        probabilities[0] = 1 - last[0];
        probabilities[1] = last[0];
    } else {
        memcpy(probabilities, last, network->classes * sizeof(float));
    }
    return counts;
}

int compose_texts(const Network *network, Text *texts, size_t count, void **copies)
{
    for (size_t i = 0; i < count && network->composition.pair_count; i++) {
        if (!may_compose(&network->table, texts[i])) {
            continue;
        }
        uint8_t *copy = copies[i] = malloc(composed_size(texts[i].length));
        int64_t length = copy ? compose(&network->composition, &network->table, texts[i], copy) : -1;
        if (length < 0) {
            return -1;
        }
        texts[i] = (Text){.utf8 = copy, .length = (size_t)length};
    }
    return 0;
}

/* Classifies texts that are composed already. */
static int classify_composed(const Network *network, const Text *texts, size_t count, float *probabilities,
                             int32_t *words, int32_t *known_words)
{
    size_t longest = 0;
    for (size_t i = 0; i < count; i++) {
        longest = texts[i].length > longest ? texts[i].length : longest;
    }
    Scratch scratch;
    if (scratch_init(&scratch, network, longest)) {
        return -1;
    }
    for (size_t i = 0; i < count; i++) {
        Counts counts = classify(network, texts[i], &scratch, probabilities + i * network->classes);
        words[i] = (int32_t)counts.words;
        known_words[i] = (int32_t)counts.known;
    }
    scratch_free(&scratch);
    return 0;
}

int classify_all(const Network *network, Text *texts, size_t count, float *probabilities, int32_t *words,
                 int32_t *known_words)
{
    void **copies = calloc(count + 1, sizeof *copies);
    if (!copies) {
        return -1;
    }
    int result = compose_texts(network, texts, count, copies);
    if (!result) {
        result = classify_composed(network, texts, count, probabilities, words, known_words);
    }
    for (size_t i = 0; i < count; i++) {
        free(copies[i]);
    }
    free(copies);
    return result;
}
