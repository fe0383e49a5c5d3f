/* N-gram features: see ngrams.h. */

#include "ngrams.h"

/* Writes the feature of each window of known words, and returns their number. Every window is written, and the next one
   overwrites a window with an unknown word: a branch on that would often be mispredicted. */
static size_t list_windows(const NGrams *ngrams, const uint32_t *indices, size_t words, uint32_t *features)
{
    size_t count = 0;
    uint32_t before = 0, before2 = 0; /* hashes of the windows of one and two words that end at the previous word */
    uint32_t run = 0;                 /* known words in a row up to this one */
    for (size_t i = 0; i < words; i++) {
        uint32_t index = indices[i];
        run = index < ngrams->first_word ? 0 : run + 1;
        features[count] = index;
        count += run >= 1;
        if (ngrams->orders >= 2) {
            uint32_t pair = hash_step(before, index);
            features[count] = ngrams->num_words + (pair & ngrams->mask);
            count += run >= 2;
            if (ngrams->orders >= 3) {
                features[count] = ngrams->num_words + (hash_step(before2, index) & ngrams->mask);
                count += run >= 3;
                before2 = pair;
            }
            before = hash_step(0, index);
        }
    }
    return count;
}

size_t max_ngrams(const NGrams *ngrams, size_t words)
{
    return ngrams->orders * words + MAX_ORDERS;
}

void count_ngrams(const NGrams *ngrams, const uint32_t *indices, size_t words, const Layer *layer,
                  FeatureCounts *counts)
{
    size_t count = list_windows(ngrams, indices, words, counts->features);
    start_counting(counts, count);
    count_features(counts, counts->features, count, layer);
}
