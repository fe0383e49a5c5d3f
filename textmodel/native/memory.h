/* Memory for tables with random access. */

#ifndef MEMORY_H
#define MEMORY_H

#include <stddef.h>

enum { CACHE_LINE = 64 };

/* Returns zeroed memory, aligned to a cache line; NULL if out of memory. Release it with `free`. A large table is
   placed in huge pages where the system supports them: fewer TLB misses. */
void *allocate_table(size_t size);

#endif
