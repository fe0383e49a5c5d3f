/* Canonical composition (NFC, https://www.unicode.org/reports/tr15/), with the tables of `textmodel.composition`. */

#ifndef COMPOSITION_H
#define COMPOSITION_H

#include "tokenizer.h"

/* Borrowed tables. Their rows are in ascending order of the first number. */
typedef struct {
    const int32_t *decompositions; /* (decomposition_count, 6): character, number of parts, parts */
    const int32_t *marks;          /* (mark_count, 2): character, combining class; class 0 is left out */
    const int32_t *pairs;          /* (pair_count, 3): two characters and their composite, in ascending order of both */
    size_t decomposition_count;
    size_t mark_count;
    size_t pair_count;
} Composition;

/* Returns whether NFC may change the text: whether the entry of one of its characters has the flag CONTEXT. */
int may_compose(const CharTable *table, Text text);

/* Returns the maximum size of the composed form of a text of `length` bytes. */
size_t composed_size(size_t length);

/* Writes the text in NFC, with the stand-in for each unassigned character. Returns the length in bytes, or -1 if out of
   memory. Takes linear time for any text. */
int64_t compose(const Composition *composition, const CharTable *table, Text text, uint8_t *out);

#endif
