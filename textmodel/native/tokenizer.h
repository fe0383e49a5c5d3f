/*
 * Tokenization: from the UTF-8 of a text to the indices of its words.
 *
 * Python passes the rules as a table of characters: `textmodel.tokenization` and `textmodel.unicode_text` specify which
 * characters separate words, and what their lower case is.
 */

#ifndef TOKENIZER_H
#define TOKENIZER_H

#include <stddef.h>
#include <stdint.h>

/* The parts of an entry of the table of characters, and the kinds of characters: see `textmodel.characters`. */
enum { CODE = 0x1FFFFF, KIND_SHIFT = 24, KIND = 7 };
static const uint32_t CONTEXT = 1u << 31;
enum { SPACE, PUNCTUATION, WORD, EXTEND, ALONE };

/* Valid UTF-8, borrowed. */
typedef struct {
    const uint8_t *utf8;
    size_t length;
} Text;

typedef struct {
    uint8_t ascii[256];
    const uint32_t *character; /* (size,): larger code points are their own entries */
    size_t size;
} CharTable;

static inline uint32_t entry_of(const CharTable *table, uint32_t character)
{
    return character < table->size ? table->character[character] : character;
}

/* Decodes a character of valid UTF-8, and returns its length in bytes. */
static inline size_t read_character(const uint8_t *text, uint32_t *character)
{
    uint32_t lead = text[0];
    if (lead < 0x80) {
        *character = lead;
        return 1;
    }
    if (lead < 0xE0) {
        *character = (lead & 0x1F) << 6 | (text[1] & 0x3F);
        return 2;
    }
    if (lead < 0xF0) {
        *character = (lead & 0x0F) << 12 | (uint32_t)(text[1] & 0x3F) << 6 | (text[2] & 0x3F);
        return 3;
    }
    *character = (lead & 0x07) << 18 | (uint32_t)(text[1] & 0x3F) << 12 | (uint32_t)(text[2] & 0x3F) << 6
                 | (text[3] & 0x3F);
    return 4;
}

/* Encodes a character as UTF-8, and returns its length in bytes. */
size_t write_character(uint8_t *out, uint32_t character);

/* Borrows `characters`, (size,), which covers at least ASCII. Returns -1 if it does not, or if an entry is not a code
   point. */
int char_table_init(CharTable *table, const uint32_t *characters, size_t size);

/* Identifies a word. Words contain no zero byte, so the padding tells the length of a word of up to 16 bytes. */
typedef struct {
    uint64_t first;  /* bytes 0 to 7, little-endian */
    uint64_t second; /* bytes 8 to 15 */
    uint64_t rest;   /* 0 for a word of up to 16 bytes, otherwise a nonzero hash of the remaining bytes */
} Key;

typedef struct {
    uint32_t tag;   /* bits of the key's hash */
    uint32_t index; /* `unknown` marks an empty slot */
} Slot;

typedef struct {
    Slot *slots;
    uint32_t shift; /* 64 - log2(number of slots) */
    uint32_t mask;  /* number of slots - 1 */
    uint32_t unknown;
    size_t size;
    Key *keys;         /* (size,); keys of frequent words are adjacent */
    uint8_t *bytes;    /* the words, one after another */
    uint64_t *offsets; /* (size + 1,): start of each word in `bytes` */
} Vocabulary;

/* Copies the entries. None may be empty or contain NUL. Returns -1 if out of memory; then too, call
   `vocabulary_free`. */
int vocabulary_init(Vocabulary *vocabulary, const Text *entries, size_t size, uint32_t unknown);

void vocabulary_free(Vocabulary *vocabulary);

/* Writes the normalized characters of a text and their kinds. Runs of white space become one space; a space begins
   and ends the stream. Returns its length, at most `text.length` + 2. */
size_t read_stream(const CharTable *table, Text text, uint32_t *codes, uint8_t *kinds);

/* Returns the size of the buffer for the normalized form of a text of `length` bytes. */
size_t text_buffer_size(size_t length);

/* Returns the maximum number of words in a text of `length` bytes. */
size_t max_words(size_t length);

/* Writes the index of each word, and returns the number of words. `read` needs `text_buffer_size` bytes, and
   `indices` room for `max_words`. */
size_t tokenize(const CharTable *table, const Vocabulary *vocabulary, Text text, uint8_t *read, uint32_t *indices);

#endif
