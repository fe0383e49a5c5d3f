/* Functions compiled for several processors. */

#ifndef CLONES_H
#define CLONES_H

/* The loader picks the clone that the processor is for; that takes glibc. */
#if defined(__x86_64__) && defined(__GLIBC__)
#define FOR_EACH_PROCESSOR __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define FOR_EACH_PROCESSOR
#endif

#endif
