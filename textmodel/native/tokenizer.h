/*
 * Texts to the indices of their words, in one pass over the bytes.
 *
 * What a character is read as comes from the specification, `textmodel.tokenization`, as a table; nothing here knows
 * which characters separate words or have case.
 */

#ifndef TOKENIZER_H
#define TOKENIZER_H

#include <stddef.h>
#include <stdint.h>

/* What an entry of a table of characters holds: see `textmodel.characters`. */
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
    const uint32_t *character; /* (size,): characters above are read as themselves */
    size_t size;
} CharTable;

static inline uint32_t entry_of(const CharTable *table, uint32_t character)
{
    return character < table->size ? table->character[character] : character;
}

/* Reads a character of valid UTF-8, and returns how many bytes it has. */
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

/* Writes a character as UTF-8, and returns how many bytes it has. */
size_t write_character(uint8_t *out, uint32_t character);

/* Borrows `characters`, (size,), at least those of ASCII. Returns -1 if one is read as what is no character. */
int char_table_init(CharTable *table, const uint32_t *characters, size_t size);

/* Words hold no zero byte, so the zeros behind a word of up to 16 bytes say how long it is. */
typedef struct {
    uint64_t first;  /* 8 bytes, the first one lowest */
    uint64_t second; /* 8 more */
    uint64_t rest;   /* 0 for a word of up to 16 bytes, otherwise a hash, not 0, of the bytes that follow */
} Key;

typedef struct {
    uint32_t tag;   /* from the key's hash */
    uint32_t index; /* the unknown index in an empty slot */
} Slot;

typedef struct {
    Slot *slots;
    uint32_t shift; /* 64 - log2 of how many slots there are */
    uint32_t mask;
    uint32_t unknown;
    size_t size;
    Key *keys;         /* (size,), the most frequent words together */
    uint8_t *bytes;    /* the words, one after another */
    uint64_t *offsets; /* (size + 1,), where each begins */
} Vocabulary;

/* Copies the entries, none of which is empty or holds NUL. Returns -1 without memory; free it then too. */
int vocabulary_init(Vocabulary *vocabulary, const Text *entries, size_t size, uint32_t unknown);

void vocabulary_free(Vocabulary *vocabulary);

/* Writes what the characters of a text are read as, and their kinds, with white space as one space, and one at both
   ends. Returns how many there are: at most two more than the text has bytes. */
size_t read_stream(const CharTable *table, Text text, uint32_t *codes, uint8_t *kinds);

/* Room for what a text of so many bytes is read as. */
size_t text_buffer_size(size_t length);

/* Words in a text of so many bytes, at most. */
size_t max_words(size_t length);

/* Writes the index of each word, and returns how many there are. `read` and `indices` have the room named above. */
size_t tokenize(const CharTable *table, const Vocabulary *vocabulary, Text text, uint8_t *read, uint32_t *indices);

#endif
