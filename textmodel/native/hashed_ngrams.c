/* Hashed n-grams: see hashed_ngrams.h. */

#include "hashed_ngrams.h"

#include "clones.h"
#include "memory.h"
#include "ngrams.h"

#include <stdlib.h>
#include <string.h>

static const uint32_t WORD_SEED = 0x9E3779B9;

enum {
    MAX_WORD = 64, /* the hash of a word covers this many characters */
    PENDING = 256, /* features are looked up and counted in batches of this size */
};

int hashed_init(HashedNGrams *ngrams, const int32_t *kept, size_t rows, uint32_t buckets, const uint8_t *known_words,
                size_t bytes)
{
    size_t parts = ((size_t)buckets + 63) / 64;
    ngrams->mask = buckets - 1;
    ngrams->rows = rows;
    ngrams->known_mask = (uint32_t)(8 * bytes - 1);
    ngrams->known_words = malloc(bytes);
    ngrams->buckets = allocate_table(parts * sizeof(Buckets));
    if (!ngrams->buckets || !ngrams->known_words) {
        return -1;
    }
    memcpy(ngrams->known_words, known_words, bytes);
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
    free(ngrams->known_words);
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

/* ---- Rows of features ---- */

typedef struct {
    uint32_t rows[PENDING];
    size_t count;
} Pending;

/* Appends the row of the hash's bucket if the bucket is kept and `held` is 1. Branch-free: the outcome is
   unpredictable. */
static inline void look_up(const HashedNGrams *ngrams, uint32_t hash, uint32_t held, Pending *pending)
{
    uint32_t bucket = hash & ngrams->mask;
    const Buckets *part = &ngrams->buckets[bucket / 64];
    uint64_t bit = (uint64_t)1 << bucket % 64;
    uint32_t kept = (part->kept & bit) != 0;
    pending->rows[pending->count] = (uint32_t)(part->before + (uint64_t)__builtin_popcountll(part->kept & (bit - 1)));
    pending->count += kept & held;
}

/* Counts the pending features. */
static void flush(Pending *pending, const Layer *layer, FeatureCounts *counts)
{
    count_features(counts, pending->rows, pending->count, layer);
    pending->count = 0;
}

/* ---- Characters ---- */

/* Fills `longest`. Within words, an n-gram ends at the next space or includes it; across words, the stream's end
   bounds it. */
static void bound_ngrams(const HashedNGrams *ngrams, size_t length, HashedScratch *scratch)
{
    size_t last = length - 1; /* last position where an n-gram may end */
    for (size_t i = length; i-- > 0;) {
        size_t longest = last - i + 1;
        scratch->longest[i] = longest < MAX_CHARACTERS ? (uint32_t)longest : MAX_CHARACTERS;
        last = !ngrams->across_words && scratch->kinds[i] == SPACE ? i : last;
    }
}

FOR_EACH_PROCESSOR
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
                look_up(ngrams, hashes[i], held, &pending);
            }
            flush(&pending, layer, counts);
        }
    }
}

/* ---- Words ---- */

/* Lists the starts and ends of words, and returns the number of words. Branch-free: the outcomes are unpredictable. */
static size_t find_words(const uint8_t *kinds, size_t length, uint32_t *begins, uint32_t *ends)
{
    size_t begun = 0, ended = 0;
    for (size_t i = 1; i <= length; i++) { /* the stream begins and ends with a space */
        uint32_t before = kinds[i - 1], kind = kinds[i];
        uint32_t in_word = kind >= WORD, was_in_word = before >= WORD;
        uint32_t begin = in_word & ((was_in_word ^ 1) | (kind == ALONE) | ((before == ALONE) & (kind != EXTEND)));
        begins[begun] = (uint32_t)i;
        begun += begin;
        ends[ended] = (uint32_t)i;
        ended += was_in_word & (begin | (in_word ^ 1));
    }
    return begun;
}

/* Number of words hashed in parallel: each step of a hash depends on the previous one. */
enum { TOGETHER = 4 };

FOR_EACH_PROCESSOR
static void hash_words(const uint32_t *codes, const uint32_t *begins, const uint32_t *ends, size_t words,
                       uint32_t *hashes)
{
    for (size_t first = 0; first < words; first += TOGETHER) {
        const uint32_t *begin = begins + first, *end = ends + first;
        uint32_t length[TOGETHER], hash[TOGETHER], longest = 0;
        for (int j = 0; j < TOGETHER; j++) {
            length[j] = end[j] - begin[j] < MAX_WORD ? end[j] - begin[j] : MAX_WORD;
            longest = length[j] > longest ? length[j] : longest;
            hash[j] = WORD_SEED;
        }
        for (uint32_t at = 0; at < longest; at++) {
            for (int j = 0; j < TOGETHER; j++) {
                uint32_t longer = at < length[j];
                hash[j] = longer ? hash_step(hash[j], codes[begin[j] + (longer ? at : 0)]) : hash[j];
            }
        }
        for (int j = 0; j < TOGETHER; j++) {
            hashes[first + (size_t)j] = hash[j];
        }
    }
}

/* Returns whether the training texts hold a word or pair of characters with this hash. */
static inline uint32_t is_known(const HashedNGrams *ngrams, uint32_t hash)
{
    uint32_t bit = hash & ngrams->known_mask;
    return ngrams->known_words[bit / 8] >> bit % 8 & 1;
}

/* Unicode blocks of scripts without spaces between words, in ascending order: `textmodel.unicode_text.UNSPACED`. */
static const struct {
    uint32_t first;
    uint32_t last;
} UNSPACED[] = {
    {0x0E00, 0x0FFF}, {0x1000, 0x109F}, {0x1780, 0x17FF}, {0x2E80, 0x2FDF}, {0x3005, 0x3007}, {0x3040, 0x30FF},
    {0x31F0, 0x31FF}, {0x3400, 0x4DBF}, {0x4E00, 0x9FFF}, {0xF900, 0xFAFF}, {0xFF66, 0xFF9F}, {0x20000, 0x3FFFF},
};

static int is_unspaced(uint32_t code)
{
    size_t block = 0;
    while (block < sizeof UNSPACED / sizeof *UNSPACED && code > UNSPACED[block].last) {
        block++;
    }
    return block < sizeof UNSPACED / sizeof *UNSPACED && code >= UNSPACED[block].first;
}

/* Returns whether a word is in a script without spaces, and most of its pairs of characters are known. */
static int is_known_run(const HashedNGrams *ngrams, const uint32_t *codes, size_t length)
{
    int is_run = is_unspaced(codes[length - 1]);
    size_t known = 0;
    for (size_t i = 0; i + 1 < length; i++) {
        is_run |= is_unspaced(codes[i]);
        known += is_known(ngrams, hash_step(hash_step(0, codes[i]), codes[i + 1]));
    }
    return is_run && 2 * known > length - 1;
}

/* Returns the number of known words. */
static size_t count_known(const HashedNGrams *ngrams, const HashedScratch *scratch, size_t words)
{
    size_t known = 0;
    for (size_t i = 0; i < words; i++) {
        uint32_t begin = scratch->begins[i], end = scratch->word_ends[i];
        known += is_known(ngrams, scratch->hashes[i]) || is_known_run(ngrams, scratch->codes + begin, end - begin);
    }
    return known;
}

/* Counts the n-grams of words. */
FOR_EACH_PROCESSOR
static void count_words(const HashedNGrams *ngrams, size_t words, const Layer *layer, const uint32_t *hashes,
                          FeatureCounts *counts)
{
    Pending pending = {.count = 0};
    uint32_t before = 0, before2 = 0; /* hashes of the windows of one and two words that end at the previous word */
    for (size_t i = 0; i < words; i++) {
        uint32_t word = hashes[i];
        look_up(ngrams, word, 1, &pending);
        if (ngrams->words >= 2) {
            uint32_t pair = hash_step(before, word);
            look_up(ngrams, pair, i >= 1, &pending);
            if (ngrams->words >= 3) {
                look_up(ngrams, hash_step(before2, word), i >= 2, &pending);
                before2 = pair;
            }
            before = hash_step(0, word);
        }
        if (pending.count > PENDING - MAX_WORDS) {
            flush(&pending, layer, counts);
        }
    }
    flush(&pending, layer, counts);
}

/* ---- Both ---- */

WordCounts count_hashed(const HashedNGrams *ngrams, const CharTable *table, Text text, const Layer *layer,
                        HashedScratch *scratch, FeatureCounts *counts)
{
    size_t length = read_stream(table, text, scratch->codes, scratch->kinds);
    scratch->kinds[length] = SPACE; /* ends the last word */
    start_counting(counts, max_hashed(ngrams, text.length));
    if (ngrams->max) {
        count_characters(ngrams, length, layer, scratch, counts);
    }
    WordCounts words = {.words = find_words(scratch->kinds, length, scratch->begins, scratch->word_ends)};
    for (int j = 0; j < TOGETHER; j++) { /* empty words complete the last group */
        scratch->begins[words.words + (size_t)j] = scratch->word_ends[words.words + (size_t)j] = 0;
    }
    hash_words(scratch->codes, scratch->begins, scratch->word_ends, words.words, scratch->hashes);
    words.known = count_known(ngrams, scratch, words.words);
    if (ngrams->words) {
        count_words(ngrams, words.words, layer, scratch->hashes, counts);
    }
    return words;
}
