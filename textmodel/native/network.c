/* A bag-of-words network: see network.h. */

#include "network.h"

#include <stdlib.h>
#include <string.h>

void network_free(Network *network)
{
    vocabulary_free(&network->vocabulary);
    for (size_t i = 0; i < network->layer_count; i++) {
        layer_free(&network->layers[i]);
    }
    free(network->layers);
}

void scratch_free(Scratch *scratch)
{
    free(scratch->text);
    free(scratch->indices);
    free(scratch->rows);
    free(scratch->held);
    windows_free(&scratch->windows);
    free(scratch->sums[0]);
}

int scratch_fill(Scratch *scratch, const Network *network, size_t longest)
{
    size_t sums = network->widest * sizeof(Lanes), words = most_words(longest);
    *scratch = (Scratch){
        .text = malloc(read_bytes(longest)),
        .indices = malloc((words + 1) * sizeof(uint32_t)),
        .sums = {aligned_alloc(sizeof(Lanes), 2 * sums)},
    };
    int failed = !scratch->text || !scratch->indices || !scratch->sums[0];
    if (network->has_ngrams) {
        failed |= windows_fill(&scratch->windows, &network->ngrams, words);
    } else {
        scratch->rows = malloc((network->vocabulary.size + 1) * sizeof(uint32_t));
        scratch->held = calloc(network->vocabulary.size, 1);
        failed |= !scratch->rows || !scratch->held;
    }
    if (failed) {
        scratch_free(scratch);
        return -1;
    }
    scratch->sums[1] = scratch->sums[0] + network->widest;
    return 0;
}

/* The distinct indices, `start` among them. */
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

Counts vectorize(const Network *network, Text text, Scratch *scratch)
{
    Counts counts = {.words = tokenize(&network->reading, &network->vocabulary, text, scratch->text, scratch->indices)};
    for (size_t i = 0; i < counts.words; i++) {
        counts.known += scratch->indices[i] != network->vocabulary.unknown;
    }
    if (network->has_ngrams) {
        counts.features = find_features(&network->ngrams, scratch->indices, counts.words, &network->layers[0],
                                        &scratch->windows);
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
        } else if (network->has_ngrams) {
            const Windows *windows = &scratch->windows;
            add_scaled_rows(layer, windows->features, windows->weights, counts.features, network->normalize, out);
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
