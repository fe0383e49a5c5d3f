/*
 * The interface of a network for other native code, which calls it without Python and its GIL. `Network.capsule()`
 * returns a `NetworkApi`, which is valid while the capsule exists. Fields keep their meaning and position; new fields
 * are appended, with a new version number.
 */

#ifndef NETWORK_API_H
#define NETWORK_API_H

#include <stddef.h>
#include <stdint.h>

#define NETWORK_API_CAPSULE "textmodel.NetworkApi"
enum { NETWORK_API_VERSION = 1 };

typedef struct {
    const uint8_t *utf8; /* valid UTF-8, borrowed */
    size_t length;       /* below INT32_MAX */
} NetworkText;

typedef struct {
    uint32_t version;
    uint32_t classes;
    const void *network;
    /* Fills probabilities, (count, classes), and words and known_words, (count,). Returns -1 if out of memory.
       Thread-safe; concurrent calls run in parallel. */
    int (*classify)(const void *network, const NetworkText *texts, size_t count, float *probabilities, int32_t *words,
                    int32_t *known_words);
} NetworkApi;

#endif
