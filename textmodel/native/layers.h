/* Dense layers, and the sums of a first layer's rows that multiply a sparse vector. */

#ifndef LAYERS_H
#define LAYERS_H

#include <stddef.h>
#include <stdint.h>

enum { LANES = 16 };

/* Four registers of SSE or NEON. */
typedef struct {
    float lane[LANES];
} Lanes;

typedef enum { LINEAR, RELU, SIGMOID, SOFTMAX, ONE_VS_REST } Activation;

/*
 * Each row of the kernel ends in zeros. In a scaled layer, a row is multiplied by its input's scale, and the scale follows
 * the last unit, so that a component of a sparse vector reads one place in memory.
 */
typedef struct {
    size_t inputs;
    size_t units;
    size_t stride; /* floats from row to row: a multiple of LANES, or a power of two below */
    size_t blocks; /* of LANES, that hold the sums of a row */
    float *kernel; /* (inputs, stride) */
    Lanes *bias;   /* (blocks,) */
    Activation activation;
} Layer;

/* Copies a kernel (inputs, units) and a bias (units,); `scale`, (inputs,), may be NULL. Returns -1 without memory; free
   it then too. */
int layer_init(Layer *layer, const float *kernel, const float *bias, const float *scale, size_t inputs, size_t units,
               Activation activation);

void layer_free(Layer *layer);

/* The layer's sums, (blocks,), for a vector with ones at `rows` and zeros elsewhere. */
void add_rows(const Layer *layer, const uint32_t *rows, size_t count, Lanes *out);

/* The scaled layer's sums, (blocks,), for a vector with `weights` times the scale at `rows` and zeros elsewhere; with
   `normalize`, it is divided by its L2 norm. */
void add_scaled_rows(const Layer *layer, const uint32_t *rows, const float *weights, size_t count, int normalize,
                     Lanes *out);

/* The layer's sums, (blocks,), for a vector (inputs,). */
void multiply(const Layer *layer, const float *in, Lanes *out);

/* Turns the sums into the layer's output. */
void activate(const Layer *layer, float *values);

/* Asks for a row ahead of its use. */
static inline void prefetch_row(const Layer *layer, uint32_t row)
{
    for (size_t block = 0; block < layer->blocks; block++) {
        __builtin_prefetch(layer->kernel + row * layer->stride + block * LANES);
    }
}

#endif
