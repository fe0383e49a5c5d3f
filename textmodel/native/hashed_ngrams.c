/* Hashed n-grams: see hashed_ngrams.h. */

#include "hashed_ngrams.h"

#include "memory.h"
#include "ngrams.h"

#include <stdlib.h>
#include <string.h>

static const uint32_t WORD_SEED = 0x9E3779B9;

enum {
    MAX_WORD = 64, /* characters that a word's hash heeds */
    PENDING = 256, /* features that are looked up before they are counted */
};

int hashed_init(HashedNGrams *ngrams, const int32_t *kept, size_t rows, uint32_t buckets)
{
    size_t parts = ((size_t)buckets + 63) / 64;
    ngrams->mask = buckets - 1;
    ngrams->rows = rows;
    ngrams->buckets = allocate_table(parts * sizeof(Buckets));
    if (!ngrams->buckets) {
        return -1;
    }
    for (size_t row = 0; row < rows; row++) {
        ngrams->buckets[kept[row] / 64].kept |= (uint64_t)1 << kept[row] % 64;
    }
    uint64_t before = 0;
    for (size_t part = 0; part < parts; part++) {
        ngrams->buckets[part].before = before;
        before += (uint64_t)__builtin_popcountll(ngrams->buckets[part].kept);
    }
    return 0;
}

void hashed_free(HashedNGrams *ngrams)
{
    free(ngrams->buckets);
}

size_t max_stream(size_t length)
{
    return length + 2 + MAX_CHARACTERS;
}

size_t max_hashed(const HashedNGrams *ngrams, size_t length)
{
    size_t orders = ngrams->max ? ngrams->max - ngrams->min + 1 : 0;
    size_t most = (orders + ngrams->words) * (length + 2);
    return most < ngrams->rows ? most : ngrams->rows;
}

/* ---- Features to their rows ---- */

typedef struct {
    uint32_t rows[PENDING];
    size_t count;
} Pending;

/* Appends the row of a hash's bucket, if it is kept and `held`; returns whether. Without a branch: the processor cannot
   guess it. */
static inline uint32_t look_up(const HashedNGrams *ngrams, uint32_t hash, uint32_t held, Pending *pending)
{
    uint32_t bucket = hash & ngrams->mask;
    const Buckets *part = &ngrams->buckets[bucket / 64];
    uint64_t bit = (uint64_t)1 << bucket % 64;
    uint32_t kept = (part->kept & bit) != 0;
    pending->rows[pending->count] = (uint32_t)(part->before + (uint64_t)__builtin_popcountll(part->kept & (bit - 1)));
    pending->count += kept & held;
    return kept & held;
}

/* Counts what has been looked up. */
static void flush(Pending *pending, const Layer *layer, FeatureCounts *counts)
{
    count_features(counts, pending->rows, pending->count, layer);
    pending->count = 0;
}

/* ---- Characters ---- */

/* Fills `longest`: up to the next space, which an n-gram within words may end with, or to the end. */
static void bound_ngrams(const HashedNGrams *ngrams, size_t length, HashedScratch *scratch)
{
    size_t last = length - 1; /* where an n-gram may end, at most */
    for (size_t i = length; i-- > 0;) {
        size_t longest = last - i + 1;
        scratch->longest[i] = longest < MAX_CHARACTERS ? (uint32_t)longest : MAX_CHARACTERS;
        last = !ngrams->across_words && scratch->kinds[i] == SPACE ? i : last;
    }
}

static void count_characters(const HashedNGrams *ngrams, size_t length, const Layer *layer, HashedScratch *scratch,
                             FeatureCounts *counts)
{
    Pending pending = {.count = 0};
    uint32_t *hashes = scratch->hashes;
    bound_ngrams(ngrams, length, scratch);
    memset(hashes, 0, length * sizeof *hashes);
    for (uint32_t order = 1; order <= ngrams->max && order <= length; order++) {
        size_t starts = length - order + 1;
        for (size_t i = 0; i < starts; i++) {
            hashes[i] = hash_step(hashes[i], scratch->codes[i + order - 1]);
        }
        if (order < ngrams->min) {
            continue;
        }
        for (size_t first = 0; first < starts; first += PENDING) {
            size_t end = first + PENDING < starts ? first + PENDING : starts;
            for (size_t i = first; i < end; i++) {
                uint32_t held = order <= scratch->longest[i] && (order > 1 || scratch->kinds[i] != SPACE);
                scratch->ends[i + order - 1] |= (uint8_t)look_up(ngrams, hashes[i], held, &pending);
            }
            flush(&pending, layer, counts);
        }
    }
}

/* ---- Words ---- */

static int begins_word(uint8_t before, uint8_t kind)
{
    return kind >= WORD && (before < WORD || kind == ALONE || (before == ALONE && kind != EXTEND));
}

/* Fills `words`, and counts the words that are kept or, without n-grams of words, end an n-gram that is. */
static WordCounts hash_words(const HashedNGrams *ngrams, size_t length, HashedScratch *scratch)
{
    WordCounts counts = {0};
    for (size_t i = 1; i < length;) { /* a space is before all */
        if (scratch->kinds[i] < WORD) {
            i++;
            continue;
        }
        uint32_t hash = WORD_SEED;
        uint8_t known = 0;
        size_t begin = i;
        do {
            known |= scratch->ends[i];
            hash = i - begin < MAX_WORD ? hash_step(hash, scratch->codes[i]) : hash;
            i++;
        } while (scratch->kinds[i] >= WORD && !begins_word(scratch->kinds[i - 1], scratch->kinds[i]));
        if (ngrams->words) {
            uint32_t bucket = hash & ngrams->mask;
            known = ngrams->buckets[bucket / 64].kept >> bucket % 64 & 1;
        }
        scratch->words[counts.words++] = hash;
        counts.known += known;
    }
    return counts;
}

static void count_words(const HashedNGrams *ngrams, size_t words, const Layer *layer, const HashedScratch *scratch,
                        FeatureCounts *counts)
{
    Pending pending = {.count = 0};
    uint32_t before = 0, before2 = 0; /* hashes of the windows of one word and of two that end at the word before */
    for (size_t i = 0; i < words; i++) {
        uint32_t word = scratch->words[i], pair = hash_step(before, word);
        look_up(ngrams, word, 1, &pending);
        look_up(ngrams, pair, ngrams->words >= 2 && i >= 1, &pending);
        look_up(ngrams, hash_step(before2, word), ngrams->words >= 3 && i >= 2, &pending);
        before2 = pair;
        before = hash_step(0, word);
        if (pending.count > PENDING - MAX_WORDS) {
            flush(&pending, layer, counts);
        }
    }
    flush(&pending, layer, counts);
}

/* ---- Together ---- */

WordCounts count_hashed(const HashedNGrams *ngrams, const CharTable *reading, Text text, const Layer *layer,
                        HashedScratch *scratch, FeatureCounts *counts)
{
    size_t length = read_stream(reading, text, scratch->codes, scratch->kinds);
    scratch->kinds[length] = SPACE; /* ends the last word */
    start_counting(counts, max_hashed(ngrams, text.length));
    memset(scratch->ends, 0, length);
    if (ngrams->max) {
        count_characters(ngrams, length, layer, scratch, counts);
    }
    WordCounts words = hash_words(ngrams, length, scratch);
    if (ngrams->words) {
        count_words(ngrams, words.words, layer, scratch, counts);
    }
    return words;
}
