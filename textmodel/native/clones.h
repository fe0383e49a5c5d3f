/* Functions that are compiled once for each instruction set. */

#ifndef CLONES_H
#define CLONES_H

/* At load time glibc picks the clone for the instruction set of the processor. */
#if defined(__x86_64__) && defined(__GLIBC__)
#define FOR_EACH_PROCESSOR __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define FOR_EACH_PROCESSOR
#endif

#endif
