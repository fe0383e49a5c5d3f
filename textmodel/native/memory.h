/* Memory for tables that are read at random. */

#ifndef MEMORY_H
#define MEMORY_H

#include <stddef.h>

enum { CACHE_LINE = 64 };

/* Zeros, from the beginning of a cache line on, for `free`. NULL without memory. A large table comes in huge pages, if
   the system has them: the processor keeps the addresses of few pages at hand. */
void *allocate_table(size_t size);

#endif
