/* Tokenization: see tokenizer.h. */

#include "tokenizer.h"

#include "memory.h"

#include <stdlib.h>
#include <string.h>

#if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "Words are loaded 8 bytes at a time: little-endian machines only."
#endif

/* ---- Normalization of characters ---- */

enum {
    ASCII = 0x80,
    STAND_IN = 0xFF, /* never occurs in UTF-8: replaces an ASCII character whose entry is outside ASCII */
    GROWTH = 2,      /* normalization at most doubles a text: 2 bytes may become 3, with a space before them 4 */
    PADDING = 80,    /* readable bytes behind a text: loads of a block of 64, or of 16 from a word's last byte on */
};

int char_table_init(CharTable *table, const uint32_t *characters, size_t size)
{
    table->character = characters;
    table->size = size;
    memset(table->ascii, STAND_IN, sizeof table->ascii);
    for (size_t i = 0; i < size; i++) {
        uint32_t code = characters[i] & CODE;
        if (code > 0x10FFFF) {
            return -1;
        }
        if (i < ASCII && code < ASCII) {
            table->ascii[i] = (uint8_t)code;
        }
    }
    return size < ASCII ? -1 : 0;
}

size_t write_character(uint8_t *out, uint32_t character)
{
    if (character < 0x80) {
        out[0] = (uint8_t)character;
        return 1;
    }
    if (character < 0x800) {
        out[0] = (uint8_t)(0xC0 | character >> 6);
        out[1] = (uint8_t)(0x80 | (character & 0x3F));
        return 2;
    }
    if (character < 0x10000) {
        out[0] = (uint8_t)(0xE0 | character >> 12);
        out[1] = (uint8_t)(0x80 | (character >> 6 & 0x3F));
        out[2] = (uint8_t)(0x80 | (character & 0x3F));
        return 3;
    }
    out[0] = (uint8_t)(0xF0 | character >> 18);
    out[1] = (uint8_t)(0x80 | (character >> 12 & 0x3F));
    out[2] = (uint8_t)(0x80 | (character >> 6 & 0x3F));
    out[3] = (uint8_t)(0x80 | (character & 0x3F));
    return 4;
}

static uint64_t load(const uint8_t *bytes)
{
    uint64_t value;
    memcpy(&value, bytes, sizeof value);
    return value;
}

/* Normalizes valid UTF-8 into `out`, which has room for GROWTH * length bytes. Returns the new length. */
static size_t read_text(const CharTable *table, const uint8_t *text, size_t length, uint8_t *out)
{
    size_t i = 0;
    uint64_t any = 0;
    for (; i + 8 <= length; i += 8) {
        uint64_t in = load(text + i), folded = 0;
        for (int bit = 0; bit < 64; bit += 8) {
            folded |= (uint64_t)table->ascii[in >> bit & 0xFF] << bit;
        }
        memcpy(out + i, &folded, sizeof folded);
        any |= in;
    }
    for (; i < length; i++) {
        out[i] = table->ascii[text[i]];
        any |= text[i];
    }
    if (!(any & 0x8080808080808080)) {
        return length;
    }

    size_t written = 0;
    uint32_t before = SPACE; /* kind of the previous character */
    for (i = 0; i < length;) {
        if (text[i] < ASCII) {
            out[written] = ' ';
            written += before == ALONE;
            out[written++] = table->ascii[text[i++]];
            before = SPACE;
            continue;
        }
        uint32_t character;
        i += read_character(text + i, &character);
        uint32_t entry = entry_of(table, character), kind = entry >> KIND_SHIFT & KIND;
        out[written] = ' ';
        written += kind == ALONE || (before == ALONE && kind != EXTEND);
        written += write_character(out + written, entry & CODE);
        before = kind;
    }
    return written;
}

size_t read_stream(const CharTable *table, Text text, uint32_t *codes, uint8_t *kinds)
{
    size_t count = 1;
    uint8_t before = kinds[0] = SPACE;
    codes[0] = ' ';
    for (size_t i = 0; i < text.length;) {
        uint32_t character;
        i += read_character(text.utf8 + i, &character);
        uint32_t entry = entry_of(table, character);
        uint8_t kind = entry >> KIND_SHIFT & KIND;
        codes[count] = entry & CODE;
        kinds[count] = kind;
        count += (before | kind) != SPACE; /* the next character overwrites a repeated space */
        before = kind;
    }
    if (before != SPACE) {
        codes[count] = ' ';
        kinds[count++] = SPACE;
    }
    return count;
}

/* ---- Vocabulary: a hash table with open addressing ---- */

static const uint64_t MULTIPLIER = 0x9E3779B97F4A7C15; /* 2^64 / golden ratio: Fibonacci hashing */

/* LOW_BYTES[8 + n] masks the lowest n bytes: none for n < 0, all for n > 8. A branch on the length of a word would
   often be mispredicted. */
static const uint64_t LOW_BYTES[25] = {
    [9] = 0xFF, 0xFFFF, 0xFFFFFF, 0xFFFFFFFF, 0xFFFFFFFFFF, 0xFFFFFFFFFFFF, 0xFFFFFFFFFFFFFF, [16 ... 24] = UINT64_MAX,
};

static uint64_t hash_rest(const uint8_t *bytes, size_t length)
{
    uint64_t hash = length;
    for (size_t i = 0; i < length; i += 8) {
        hash = (hash ^ (load(bytes + i) & LOW_BYTES[8 + (length - i < 8 ? length - i : 8)])) * MULTIPLIER;
        hash ^= hash >> 32;
    }
    return hash | 1;
}

static Key key_of(const uint8_t *word, size_t length)
{
    Key key = {0};
    size_t begin = length;
    if (length > 16) {
        key.rest = hash_rest(word + 16, length - 16);
        begin = 16;
    }
    key.first = load(word) & LOW_BYTES[8 + begin];
    key.second = load(word + 8) & LOW_BYTES[begin];
    return key;
}

static uint64_t hash_key(Key key)
{
    return (key.first ^ key.second * MULTIPLIER ^ key.rest) * MULTIPLIER;
}

/* Bits 16 to 47. The highest bits select the slot; the lowest depend on a part of the key only. */
static uint32_t tag_of(uint64_t hash)
{
    return (uint32_t)(hash >> 16);
}

static int is_entry(const Vocabulary *vocabulary, uint32_t index, const uint8_t *word, size_t length)
{
    uint64_t offset = vocabulary->offsets[index];
    return vocabulary->offsets[index + 1] - offset == length && !memcmp(vocabulary->bytes + offset, word, length);
}

/* Returns the slot of a word, or the empty slot where it would be inserted. */
static Slot *find(const Vocabulary *vocabulary, const uint8_t *word, size_t length, Key key, uint64_t hash)
{
    uint32_t at = (uint32_t)(hash >> vocabulary->shift);
    for (;; at = (at + 1) & vocabulary->mask) {
        Slot *slot = &vocabulary->slots[at];
        if (slot->index == vocabulary->unknown) {
            return slot;
        }
        if (slot->tag == tag_of(hash)) {
            const Key *entry = &vocabulary->keys[slot->index];
            if (entry->first == key.first && entry->second == key.second && entry->rest == key.rest
                && (!key.rest || is_entry(vocabulary, slot->index, word, length))) {
                return slot;
            }
        }
    }
}

void vocabulary_free(Vocabulary *vocabulary)
{
    free(vocabulary->slots);
    free(vocabulary->keys);
    free(vocabulary->bytes);
    free(vocabulary->offsets);
}

int vocabulary_init(Vocabulary *vocabulary, const Text *entries, size_t size, uint32_t unknown)
{
    size_t bytes = 0;
    for (size_t i = 0; i < size; i++) {
        bytes += entries[i].length;
    }
    uint32_t bits = 4;
    while ((size_t)1 << bits < 2 * size) {
        bits++;
    }
    size_t slots = (size_t)1 << bits;
    *vocabulary = (Vocabulary){
        .slots = allocate_table(slots * sizeof(Slot)),
        .shift = 64 - bits,
        .mask = (uint32_t)(slots - 1),
        .unknown = unknown,
        .keys = allocate_table(size * sizeof(Key)),
        .bytes = calloc(bytes + PADDING, 1),
        .offsets = calloc(size + 1, sizeof(uint64_t)),
        .size = size,
    };
    if (!vocabulary->slots || !vocabulary->keys || !vocabulary->bytes || !vocabulary->offsets) {
        return -1;
    }
    for (size_t i = 0; i < slots; i++) {
        vocabulary->slots[i].index = unknown;
    }
    for (size_t i = 0; i < size; i++) {
        size_t length = entries[i].length;
        uint8_t *word = vocabulary->bytes + vocabulary->offsets[i];
        memcpy(word, entries[i].utf8, length);
        vocabulary->offsets[i + 1] = vocabulary->offsets[i] + length;
        Key key = vocabulary->keys[i] = key_of(word, length);
        uint64_t hash = hash_key(key);
        *find(vocabulary, word, length, key, hash) = (Slot){.tag = tag_of(hash), .index = (uint32_t)i};
    }
    return 0;
}

/* ---- Words ---- */

/* Returns 8 bits: bit i is set if byte i is a space. */
static uint64_t spaces(uint64_t bytes)
{
    const uint64_t low = 0x7F7F7F7F7F7F7F7F;
    bytes ^= 0x2020202020202020;
    uint64_t high = ~(((bytes & low) + low) | bytes | low); /* high bit of each byte that is a space */
    return (high >> 7) * 0x0102040810204080 >> 56;
}

size_t text_buffer_size(size_t length)
{
    return GROWTH * length + PADDING;
}

size_t max_words(size_t length)
{
    /* Between two words is a byte that separates them, except beside a picture. The smallest picture has 2 bytes, such as
       the copyright sign: with a letter on both sides, 4 bytes are 3 words. */
    return (2 * length + 1) / 3;
}

/* An edge is the start or the end of a word. Edges are collected and looked up in batches. */
enum { EDGES = 64, WORDS = (2 * EDGES + 1) / 2 };

/* Writes the indices of the words between the edges, whose number is even or the last one ignored. Prefetches all slots
   first: those of a large vocabulary are rarely in the cache. */
static size_t look_up(const Vocabulary *vocabulary, const uint8_t *read, const size_t *edges, size_t count,
                      uint32_t *indices)
{
    Key keys[WORDS];
    uint64_t hashes[WORDS];
    size_t words = count / 2;
    for (size_t i = 0; i < words; i++) {
        size_t begin = edges[2 * i], end = edges[2 * i + 1];
        keys[i] = key_of(read + begin, end - begin);
        hashes[i] = hash_key(keys[i]);
        __builtin_prefetch(&vocabulary->slots[hashes[i] >> vocabulary->shift]);
    }
    for (size_t i = 0; i < words; i++) {
        size_t begin = edges[2 * i], end = edges[2 * i + 1];
        indices[i] = find(vocabulary, read + begin, end - begin, keys[i], hashes[i])->index;
    }
    return words;
}

size_t tokenize(const CharTable *table, const Vocabulary *vocabulary, Text text, uint8_t *read, uint32_t *indices)
{
    size_t length = read_text(table, text.utf8, text.length, read);
    memset(read + length, ' ', PADDING); /* ends the last word */

    size_t words = 0;
    size_t edges[2 * EDGES];
    size_t count = 0;
    uint64_t before = 1; /* the text starts after a separator */
    for (size_t at = 0; at <= length; at += 64) {
        uint64_t separators = 0;
        for (size_t i = 0; i < 64; i += 8) {
            separators |= spaces(load(read + at + i)) << i;
        }
        for (uint64_t bits = separators ^ (separators << 1 | before); bits; bits &= bits - 1) {
            edges[count++] = at + (size_t)__builtin_ctzll(bits);
        }
        before = separators >> 63;
        if (count >= EDGES) {
            words += look_up(vocabulary, read, edges, count & ~(size_t)1, indices + words);
            edges[0] = edges[count - 1]; /* odd count: this word ends in a later block */
            count &= 1;
        }
    }
    return words + look_up(vocabulary, read, edges, count, indices + words);
}
