/* Memory: see memory.h. */

#if defined(__linux__)
#define _DEFAULT_SOURCE /* madvise */
#include <sys/mman.h>
#endif

#include "memory.h"

#include <stdlib.h>
#include <string.h>

enum { HUGE_PAGE = 1 << 21 };

void *allocate_table(size_t size)
{
    size_t alignment = size < HUGE_PAGE ? CACHE_LINE : HUGE_PAGE;
    size_t whole = (size / alignment + 1) * alignment; /* a multiple of the alignment, never 0 */
    void *table = aligned_alloc(alignment, whole);
    if (!table) {
        return NULL;
    }
#ifdef MADV_HUGEPAGE
    if (alignment == HUGE_PAGE) {
        madvise(table, whole, MADV_HUGEPAGE);
    }
#endif
    return memset(table, 0, whole);
}
