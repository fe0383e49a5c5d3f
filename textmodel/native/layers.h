/* Dense layers. The first one multiplies a sparse vector, by adding up rows of its kernel. */

#ifndef LAYERS_H
#define LAYERS_H

#include <stddef.h>
#include <stdint.h>

enum { LANES = 16 };

/* The floats of four SSE or NEON registers. */
typedef struct {
    float lane[LANES];
} Lanes;

typedef enum { LINEAR, RELU, SIGMOID, SOFTMAX, ONE_VS_REST } Activation;

/*
 * Each row of the kernel is padded with zeros. In a scaled layer, each row is multiplied by the scale of its input, and
 * the scale itself follows the last unit: a component of a sparse vector touches one place in memory only.
 */
typedef struct {
    size_t inputs;
    size_t units;
    size_t stride; /* floats from one row to the next: a multiple of LANES, or a smaller power of two */
    size_t blocks; /* number of Lanes for the sums of a row */
    float *kernel; /* (inputs, stride) */
    Lanes *bias;   /* (blocks,) */
    Activation activation;
} Layer;

/* Copies a kernel (inputs, units) and a bias (units,); `scale`, (inputs,), may be NULL. Returns -1 if out of memory;
   then too, call `layer_free`. */
int layer_init(Layer *layer, const float *kernel, const float *bias, const float *scale, size_t inputs, size_t units,
               Activation activation);

void layer_free(Layer *layer);

/* Computes the layer's sums, (blocks,), for a vector with ones at `rows` and zeros elsewhere. */
void add_rows(const Layer *layer, const uint32_t *rows, size_t count, Lanes *out);

/* Computes the scaled layer's sums, (blocks,), for a vector with `weights` times the scale at `rows` and zeros
   elsewhere. With `normalize`, the vector is divided by its L2 norm. */
void add_scaled_rows(const Layer *layer, const uint32_t *rows, const float *weights, size_t count, int normalize,
                     Lanes *out);

/* Computes the layer's sums, (blocks,), for a dense vector, (inputs,). */
void multiply(const Layer *layer, const float *in, Lanes *out);

/* Applies the activation to the sums, in place. */
void activate(const Layer *layer, float *values);

/* Prefetches a row of the kernel into the cache. */
static inline void prefetch_row(const Layer *layer, uint32_t row)
{
    for (size_t block = 0; block < layer->blocks; block++) {
        __builtin_prefetch(layer->kernel + row * layer->stride + block * LANES);
    }
}

#endif
