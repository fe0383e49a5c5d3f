/* Canonical composition (NFC, https://www.unicode.org/reports/tr15/), by tables that `textmodel.composition` makes. */

#ifndef COMPOSITION_H
#define COMPOSITION_H

#include "tokenizer.h"

/* Rows of three or more numbers, borrowed; the first of each row rises. */
typedef struct {
    const int32_t *decompositions; /* (decomposition_count, 6): character, number of parts, parts */
    const int32_t *marks;          /* (mark_count, 2): character, its combining class, not 0 */
    const int32_t *pairs;          /* (pair_count, 3): two characters that compose, and to what; in order of both */
    size_t decomposition_count;
    size_t mark_count;
    size_t pair_count;
} Composition;

/* Whether the text may change under NFC: one of its characters says so in its entry. */
int may_compose(const CharTable *table, Text text);

/* Bytes that the composed form of a text of so many may have. */
size_t composed_size(size_t length);

/* Writes the text in NFC, with the stand-in for each character that has it as its entry. Returns the length, or -1
   without memory. Linear in the length, whatever the text is. */
int64_t compose(const Composition *composition, const CharTable *table, Text text, uint8_t *out);

#endif
