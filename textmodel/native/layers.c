/* Dense layers: see layers.h. */

#include "layers.h"

#include "clones.h"
#include "memory.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int layer_init(Layer *layer, const float *kernel, const float *bias, const float *scale, size_t inputs, size_t units,
               Activation activation)
{
    size_t width = units + (scale != NULL);
    size_t blocks = (width + LANES - 1) / LANES;
    size_t stride = blocks * LANES;
    while (scale && width <= stride / 2 && stride <= LANES) {
        stride /= 2;
    }
    *layer = (Layer){
        .inputs = inputs,
        .units = units,
        .stride = stride,
        .blocks = blocks,
        .kernel = allocate_table(inputs * stride * sizeof(float)),
        .bias = allocate_table(blocks * sizeof(Lanes)),
        .activation = activation,
    };
    if (!layer->kernel || !layer->bias) {
        return -1;
    }
    for (size_t row = 0; row < inputs; row++) {
        float *out = layer->kernel + row * stride;
        memcpy(out, kernel + row * units, units * sizeof(float));
        if (scale) {
            for (size_t unit = 0; unit < units; unit++) {
                out[unit] *= scale[row];
            }
            out[units] = scale[row];
        }
    }
    memcpy(layer->bias, bias, units * sizeof(float));
    return 0;
}

void layer_free(Layer *layer)
{
    free(layer->kernel);
    free(layer->bias);
}

/* sum += factor * row */
static inline void add(Lanes *sum, float factor, const float *row)
{
    for (int lane = 0; lane < LANES; lane++) {
        sum->lane[lane] += factor * row[lane];
    }
}

/* Two independent sums hide the latency of an addition. */
FOR_EACH_PROCESSOR
void add_rows(const Layer *layer, const uint32_t *rows, size_t count, Lanes *out)
{
    for (size_t block = 0; block < layer->blocks; block++) {
        const float *kernel = layer->kernel + block * LANES;
        Lanes even = layer->bias[block], odd = {0};
        size_t i = 0;
        for (; i + 1 < count; i += 2) {
            add(&even, 1, kernel + rows[i] * layer->stride);
            add(&odd, 1, kernel + rows[i + 1] * layer->stride);
        }
        if (i < count) {
            add(&even, 1, kernel + rows[i] * layer->stride);
        }
        add(&even, 1, odd.lane);
        out[block] = even;
    }
}

/* One block of a scaled layer: the weighted sum of its rows, and the squared L2 norm of the sparse vector. */
typedef struct {
    float sums[LANES];
    float squares;
} Weighted;

/* Reads `width` floats of each row. Each caller passes a constant, so that the compiler unrolls the loops. */
static inline Weighted weigh_rows(const Layer *layer, size_t block, const uint32_t *rows, const float *weights,
                                  size_t count, size_t width)
{
    const float *kernel = layer->kernel + block * LANES;
    const float *scales = layer->kernel + layer->units;
    float even[LANES] = {0}, odd[LANES] = {0}, even_squares = 0, odd_squares = 0;
    size_t i = 0;
    for (; i + 1 < count; i += 2) {
        const size_t first = rows[i] * layer->stride, second = rows[i + 1] * layer->stride;
        for (size_t lane = 0; lane < width; lane++) {
            even[lane] += weights[i] * kernel[first + lane];
            odd[lane] += weights[i + 1] * kernel[second + lane];
        }
        float first_value = weights[i] * scales[first], second_value = weights[i + 1] * scales[second];
        even_squares += first_value * first_value;
        odd_squares += second_value * second_value;
    }
    if (i < count) {
        const size_t last = rows[i] * layer->stride;
        for (size_t lane = 0; lane < width; lane++) {
            even[lane] += weights[i] * kernel[last + lane];
        }
        float value = weights[i] * scales[last];
        even_squares += value * value;
    }
    Weighted weighted = {.squares = even_squares + odd_squares};
    for (size_t lane = 0; lane < width; lane++) {
        weighted.sums[lane] = even[lane] + odd[lane];
    }
    return weighted;
}

FOR_EACH_PROCESSOR
void add_scaled_rows(const Layer *layer, const uint32_t *rows, const float *weights, size_t count, int normalize,
                     Lanes *out)
{
    for (size_t block = 0; block < layer->blocks; block++) {
        Weighted weighted;
        switch (layer->stride) {
        case 2:
            weighted = weigh_rows(layer, block, rows, weights, count, 2);
            break;
        case 4:
            weighted = weigh_rows(layer, block, rows, weights, count, 4);
            break;
        case 8:
            weighted = weigh_rows(layer, block, rows, weights, count, 8);
            break;
        default:
            weighted = weigh_rows(layer, block, rows, weights, count, LANES);
        }
        float factor = normalize && weighted.squares > 0 ? 1 / sqrtf(weighted.squares) : 1;
        out[block] = layer->bias[block];
        add(&out[block], factor, weighted.sums);
    }
}

FOR_EACH_PROCESSOR
void multiply(const Layer *layer, const float *in, Lanes *out)
{
    for (size_t block = 0; block < layer->blocks; block++) {
        const float *kernel = layer->kernel + block * LANES;
        Lanes even = layer->bias[block], odd = {0};
        size_t i = 0;
        for (; i + 1 < layer->inputs; i += 2) {
            add(&even, in[i], kernel + i * layer->stride);
            add(&odd, in[i + 1], kernel + (i + 1) * layer->stride);
        }
        if (i < layer->inputs) {
            add(&even, in[i], kernel + i * layer->stride);
        }
        add(&even, 1, odd.lane);
        out[block] = even;
    }
}

/* ln(sigmoid(value)), without underflow for very negative values. */
static float log_sigmoid(float value)
{
    return value < 0 ? value - log1pf(expf(value)) : -log1pf(expf(-value));
}

static void softmax(float *values, size_t units)
{
    float highest = values[0], total = 0;
    for (size_t i = 1; i < units; i++) {
        highest = values[i] > highest ? values[i] : highest;
    }
    for (size_t i = 0; i < units; i++) {
        values[i] = expf(values[i] - highest);
        total += values[i];
    }
    for (size_t i = 0; i < units; i++) {
        values[i] /= total;
    }
}

void activate(const Layer *layer, float *values)
{
    switch (layer->activation) {
    case LINEAR:
        break;
    case RELU:
        for (size_t i = 0; i < layer->units; i++) {
            values[i] = values[i] < 0 ? 0 : values[i]; /* NaN stays NaN */
        }
        break;
    case SIGMOID:
        for (size_t i = 0; i < layer->units; i++) {
            values[i] = 1 / (1 + expf(-values[i]));
        }
        break;
    case SOFTMAX:
        softmax(values, layer->units);
        break;
    case ONE_VS_REST:
        for (size_t i = 0; i < layer->units; i++) {
            values[i] = log_sigmoid(values[i]);
        }
        softmax(values, layer->units);
        break;
    }
}
