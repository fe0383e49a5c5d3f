/* Canonical composition: see composition.h. */

#include "composition.h"

#include <stdlib.h>
#include <string.h>

enum {
    MAX_PARTS = 2,       /* a byte of UTF-8 decomposes into at most 2 characters */
    GROWTH = 3,          /* and into at most 3 bytes */
    SHORT_RUN = 32,      /* up to this many marks are sorted by insertion, more by counting */
    UNASSIGNED = 0xFFFF, /* the table maps unassigned code points to this noncharacter */
};

/* Composition of Hangul syllables: The Unicode Standard, section 3.12. */
enum {
    SYLLABLES = 0xAC00,
    LEADS = 0x1100,
    VOWELS = 0x1161,
    TRAILS = 0x11A7,
    LEAD_COUNT = 19,
    VOWEL_COUNT = 21,
    TRAIL_COUNT = 28,
    SYLLABLE_COUNT = LEAD_COUNT * VOWEL_COUNT * TRAIL_COUNT,
};

/* A character with its combining class; starters have class 0. */
typedef struct {
    uint32_t code;
    uint32_t class;
} Mark;

int may_compose(const CharTable *table, Text text)
{
    uint32_t entries = 0;
    size_t ascii = 0; /* skip leading ASCII, 8 bytes at a time */
    for (uint64_t bytes; ascii + 8 <= text.length; ascii += 8) {
        memcpy(&bytes, text.utf8 + ascii, sizeof bytes);
        if (bytes & 0x8080808080808080) {
            break;
        }
    }
    for (size_t i = ascii; i < text.length;) {
        uint32_t character;
        i += read_character(text.utf8 + i, &character);
        entries |= entry_of(table, character);
    }
    return (entries & CONTEXT) != 0;
}

size_t composed_size(size_t length)
{
    return GROWTH * length;
}

/* Returns the first row of a table that begins with `code`, NULL if there is none. */
static const int32_t *find(const int32_t *table, size_t count, size_t width, uint32_t code)
{
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if ((uint32_t)table[middle * width] < code) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < count && (uint32_t)table[low * width] == code ? table + low * width : NULL;
}

static Mark mark_of(const Composition *composition, uint32_t code)
{
    const int32_t *row = find(composition->marks, composition->mark_count, 2, code);
    return (Mark){code, row ? (uint32_t)row[1] : 0};
}

/* Writes the full canonical decomposition of a character, and returns its length. */
static size_t decompose(const Composition *composition, uint32_t code, Mark *out)
{
    uint32_t syllable = code - SYLLABLES;
    if (syllable < SYLLABLE_COUNT) {
        out[0] = (Mark){LEADS + syllable / (VOWEL_COUNT * TRAIL_COUNT), 0};
        out[1] = (Mark){VOWELS + syllable % (VOWEL_COUNT * TRAIL_COUNT) / TRAIL_COUNT, 0};
        out[2] = (Mark){TRAILS + syllable % TRAIL_COUNT, 0};
        return syllable % TRAIL_COUNT ? 3 : 2;
    }
    const int32_t *row = find(composition->decompositions, composition->decomposition_count, 6, code);
    if (!row) {
        out[0] = mark_of(composition, code);
        return 1;
    }
    for (int32_t part = 0; part < row[1]; part++) {
        out[part] = mark_of(composition, (uint32_t)row[2 + part]);
    }
    return (size_t)row[1];
}

/* Sorts the marks of one run by class. The sort is stable. */
static void sort_run(Mark *run, size_t count, Mark *scratch)
{
    if (count > SHORT_RUN) {
        size_t places[257] = {0};
        for (size_t i = 0; i < count; i++) {
            places[run[i].class + 1]++;
        }
        for (size_t class = 0; class < 256; class++) {
            places[class + 1] += places[class];
        }
        memcpy(scratch, run, count * sizeof *run);
        for (size_t i = 0; i < count; i++) {
            run[places[scratch[i].class]++] = scratch[i];
        }
        return;
    }
    for (size_t i = 1; i < count; i++) {
        Mark mark = run[i];
        size_t at = i;
        for (; at > 0 && run[at - 1].class > mark.class; at--) {
            run[at] = run[at - 1];
        }
        run[at] = mark;
    }
}

static void sort_marks(Mark *marks, size_t count, Mark *scratch)
{
    for (size_t i = 0; i < count;) {
        size_t end = i;
        while (end < count && marks[end].class) {
            end++;
        }
        sort_run(marks + i, end - i, scratch);
        i = end + 1;
    }
}

/* Returns the composite of two characters, 0 if there is none. */
static uint32_t composite_of(const Composition *composition, uint32_t first, uint32_t second)
{
    uint32_t lead = first - LEADS, vowel = second - VOWELS;
    if (lead < LEAD_COUNT && vowel < VOWEL_COUNT) {
        return SYLLABLES + (lead * VOWEL_COUNT + vowel) * TRAIL_COUNT;
    }
    uint32_t syllable = first - SYLLABLES, trail = second - TRAILS;
    if (syllable < SYLLABLE_COUNT && syllable % TRAIL_COUNT == 0 && trail && trail < TRAIL_COUNT) {
        return first + trail;
    }
    const int32_t *end = composition->pairs + 3 * composition->pair_count;
    for (const int32_t *row = find(composition->pairs, composition->pair_count, 3, first);
         row && row < end && (uint32_t)row[0] == first; row += 3) {
        if ((uint32_t)row[1] == second) {
            return (uint32_t)row[2];
        }
    }
    return 0;
}

/* Composes in place, and returns the number of characters left. */
static size_t compose_marks(const Composition *composition, Mark *marks, size_t count)
{
    size_t written = 0;
    Mark *starter = NULL;
    for (size_t i = 0; i < count; i++) {
        Mark mark = marks[i];
        /* A starter, or a mark of the same or a higher class, between the two blocks the composition. */
        int reaches = starter && (starter + 1 == marks + written
                                  || (mark.class && marks[written - 1].class < mark.class));
        uint32_t composite = reaches ? composite_of(composition, starter->code, mark.code) : 0;
        if (composite) {
            starter->code = composite;
            continue;
        }
        marks[written] = mark;
        starter = mark.class ? starter : marks + written;
        written++;
    }
    return written;
}

int64_t compose(const Composition *composition, const CharTable *table, Text text, uint8_t *out)
{
    size_t room = MAX_PARTS * text.length + 4, count = 0, length = 0;
    Mark *marks = malloc(2 * room * sizeof(Mark));
    if (!marks) {
        return -1;
    }
    for (size_t i = 0; i < text.length;) {
        uint32_t code;
        i += read_character(text.utf8 + i, &code);
        int is_assigned = (entry_of(table, code) & CODE) != UNASSIGNED;
        count += decompose(composition, is_assigned ? code : UNASSIGNED, marks + count);
    }
    sort_marks(marks, count, marks + room);
    count = compose_marks(composition, marks, count);
    for (size_t i = 0; i < count; i++) {
        length += write_character(out + length, marks[i].code);
    }
    free(marks);
    return (int64_t)length;
}
