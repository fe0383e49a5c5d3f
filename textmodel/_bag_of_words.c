/*
 * A bag-of-words network, from texts to probabilities in one call without the GIL.
 *
 * The first layer of such a network multiplies a vector of zeros and ones by its kernel: that is the sum of the
 * kernel's rows whose words the text holds. So a text costs one pass over its bytes and one short row a distinct word.
 *
 * What a character is read as comes from the specification, `textmodel.tokenization`, as a table; nothing here knows
 * which characters separate words or have case.
 */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* The loader picks the clone that the processor is for; that takes glibc. */
#if defined(__x86_64__) && defined(__GLIBC__)
#define FOR_EACH_REGISTER_WIDTH __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define FOR_EACH_REGISTER_WIDTH
#endif

/* Texts of so many bytes together are classified without releasing the GIL: about 50 microseconds. */
#define SHORT_BYTES 16384

#if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "Words are read 8 bytes at a time, the first one lowest: little-endian machines only."
#endif

/* ---- Characters: UTF-8 to what the specification reads it as ---- */

enum {
    CHARACTERS = 0x20000, /* the table's size; no character above has case */
    ASCII = 0x80,
    STAND_IN = 0xFF, /* a byte that no UTF-8 holds: for ASCII characters that are read as one outside ASCII */
    GROWTH = 2,      /* a character's UTF-8 grows at most from 2 bytes to 4 */
    PADDING = 80,    /* readable bytes behind a text: a block of 64, or 16 from a word's last byte on */
};

typedef struct {
    uint8_t ascii[256];        /* STAND_IN from 0x80 on */
    const uint32_t *character; /* (CHARACTERS,) */
} Reading;

static size_t read_character(const uint8_t *text, uint32_t *character)
{
    uint32_t lead = text[0];
    if (lead < 0xE0) {
        *character = (lead & 0x1F) << 6 | (text[1] & 0x3F);
        return 2;
    }
    if (lead < 0xF0) {
        *character = (lead & 0x0F) << 12 | (uint32_t)(text[1] & 0x3F) << 6 | (text[2] & 0x3F);
        return 3;
    }
    *character = (lead & 0x07) << 18 | (uint32_t)(text[1] & 0x3F) << 12 | (uint32_t)(text[2] & 0x3F) << 6
                 | (text[3] & 0x3F);
    return 4;
}

static size_t write_character(uint8_t *out, uint32_t character)
{
    if (character < 0x80) {
        out[0] = (uint8_t)character;
        return 1;
    }
    if (character < 0x800) {
        out[0] = (uint8_t)(0xC0 | character >> 6);
        out[1] = (uint8_t)(0x80 | (character & 0x3F));
        return 2;
    }
    if (character < 0x10000) {
        out[0] = (uint8_t)(0xE0 | character >> 12);
        out[1] = (uint8_t)(0x80 | (character >> 6 & 0x3F));
        out[2] = (uint8_t)(0x80 | (character & 0x3F));
        return 3;
    }
    out[0] = (uint8_t)(0xF0 | character >> 18);
    out[1] = (uint8_t)(0x80 | (character >> 12 & 0x3F));
    out[2] = (uint8_t)(0x80 | (character >> 6 & 0x3F));
    out[3] = (uint8_t)(0x80 | (character & 0x3F));
    return 4;
}

static uint64_t load(const uint8_t *bytes)
{
    uint64_t value;
    memcpy(&value, bytes, sizeof value);
    return value;
}

/* Reads valid UTF-8 into `out`, which has room for GROWTH times its length; returns the length there. */
static size_t read_text(const Reading *reading, const uint8_t *text, size_t length, uint8_t *out)
{
    size_t i = 0;
    uint64_t any = 0;
    for (; i + 8 <= length; i += 8) {
        uint64_t in = load(text + i), folded = 0;
        for (int bit = 0; bit < 64; bit += 8) {
            folded |= (uint64_t)reading->ascii[in >> bit & 0xFF] << bit;
        }
        memcpy(out + i, &folded, sizeof folded);
        any |= in;
    }
    for (; i < length; i++) {
        out[i] = reading->ascii[text[i]];
        any |= text[i];
    }
    if (!(any & 0x8080808080808080)) {
        return length;
    }

    size_t written = 0;
    for (i = 0; i < length;) {
        if (text[i] < ASCII) {
            out[written++] = reading->ascii[text[i++]];
            continue;
        }
        uint32_t character;
        i += read_character(text + i, &character);
        written += write_character(out + written, character < CHARACTERS ? reading->character[character] : character);
    }
    return written;
}

/* ---- Vocabulary: a hash table with open addressing ---- */

/* Words hold no zero byte, so the zeros behind a word of up to 16 bytes say how long it is. */
typedef struct {
    uint64_t first;  /* 8 bytes, the first one lowest */
    uint64_t second; /* 8 more */
    uint64_t rest;   /* 0 for a word of up to 16 bytes, otherwise a hash, not 0, of the bytes that follow */
} Key;

typedef struct {
    uint32_t tag;   /* from the key's hash */
    uint32_t index; /* the unknown index in an empty slot */
} Slot;

typedef struct {
    Slot *slots;
    uint32_t shift; /* 64 - log2 of how many slots there are */
    uint32_t mask;
    uint32_t unknown;
    size_t size;
    Key *keys;         /* (size,), the most frequent words together */
    uint8_t *bytes;    /* the words, one after another */
    uint64_t *offsets; /* (size + 1,), where each begins */
} Vocabulary;

static const uint64_t MULTIPLIER = 0x9E3779B97F4A7C15; /* 2^64 over the golden ratio: Fibonacci hashing */

/* LOW_BYTES[8 + n] keeps the lowest n bytes: none for n < 0, all for n > 8. A branch on the length of a word is one
   that the processor guesses wrongly. */
static const uint64_t LOW_BYTES[25] = {
    [9] = 0xFF, 0xFFFF, 0xFFFFFF, 0xFFFFFFFF, 0xFFFFFFFFFF, 0xFFFFFFFFFFFF, 0xFFFFFFFFFFFFFF, [16 ... 24] = UINT64_MAX,
};

static uint64_t hash_rest(const uint8_t *bytes, size_t length)
{
    uint64_t hash = length;
    for (size_t i = 0; i < length; i += 8) {
        hash = (hash ^ (load(bytes + i) & LOW_BYTES[8 + (length - i < 8 ? length - i : 8)])) * MULTIPLIER;
        hash ^= hash >> 32;
    }
    return hash | 1;
}

static Key key_of(const uint8_t *word, size_t length)
{
    Key key = {0};
    size_t begin = length;
    if (length > 16) {
        key.rest = hash_rest(word + 16, length - 16);
        begin = 16;
    }
    key.first = load(word) & LOW_BYTES[8 + begin];
    key.second = load(word + 8) & LOW_BYTES[begin];
    return key;
}

static uint64_t hash_key(Key key)
{
    return (key.first ^ key.second * MULTIPLIER ^ key.rest) * MULTIPLIER;
}

/* The highest bits of a hash say where its slot is; these are below, and depend on as much of the key. */
static uint32_t tag_of(uint64_t hash)
{
    return (uint32_t)(hash >> 16);
}

static int is_entry(const Vocabulary *vocabulary, uint32_t index, const uint8_t *word, size_t length)
{
    uint64_t offset = vocabulary->offsets[index];
    return vocabulary->offsets[index + 1] - offset == length && !memcmp(vocabulary->bytes + offset, word, length);
}

/* The slot that holds a word, or the empty one where it would be. */
static Slot *find(const Vocabulary *vocabulary, const uint8_t *word, size_t length, Key key)
{
    uint64_t hash = hash_key(key);
    uint32_t at = (uint32_t)(hash >> vocabulary->shift);
    for (;; at = (at + 1) & vocabulary->mask) {
        Slot *slot = &vocabulary->slots[at];
        if (slot->index == vocabulary->unknown) {
            return slot;
        }
        if (slot->tag == tag_of(hash)) {
            const Key *entry = &vocabulary->keys[slot->index];
            if (entry->first == key.first && entry->second == key.second && entry->rest == key.rest
                && (!key.rest || is_entry(vocabulary, slot->index, word, length))) {
                return slot;
            }
        }
    }
}

static void vocabulary_free(Vocabulary *vocabulary)
{
    free(vocabulary->slots);
    free(vocabulary->keys);
    free(vocabulary->bytes);
    free(vocabulary->offsets);
}

/* Copies a tuple of str. Returns -1 with an exception set if it cannot. */
static int vocabulary_fill(Vocabulary *vocabulary, PyObject *entries, uint32_t unknown)
{
    size_t size = (size_t)PyTuple_Size(entries);
    size_t bytes = 0;
    for (size_t i = 0; i < size; i++) {
        Py_ssize_t length;
        if (!PyUnicode_AsUTF8AndSize(PyTuple_GetItem(entries, (Py_ssize_t)i), &length)) {
            return -1;
        }
        bytes += (size_t)length;
    }
    uint32_t bits = 4;
    while ((size_t)1 << bits < 2 * size) {
        bits++;
    }
    size_t slots = (size_t)1 << bits;
    *vocabulary = (Vocabulary){
        .slots = calloc(slots, sizeof(Slot)),
        .shift = 64 - bits,
        .mask = (uint32_t)(slots - 1),
        .unknown = unknown,
        .keys = calloc(size, sizeof(Key)),
        .bytes = calloc(bytes + PADDING, 1),
        .offsets = calloc(size + 1, sizeof(uint64_t)),
        .size = size,
    };
    if (!vocabulary->slots || !vocabulary->keys || !vocabulary->bytes || !vocabulary->offsets) {
        PyErr_NoMemory();
        return -1;
    }
    for (size_t i = 0; i < slots; i++) {
        vocabulary->slots[i].index = unknown;
    }
    for (size_t i = 0; i < size; i++) {
        Py_ssize_t length;
        const char *entry = PyUnicode_AsUTF8AndSize(PyTuple_GetItem(entries, (Py_ssize_t)i), &length);
        if (!entry) {
            return -1;
        }
        uint8_t *word = vocabulary->bytes + vocabulary->offsets[i];
        memcpy(word, entry, (size_t)length);
        vocabulary->offsets[i + 1] = vocabulary->offsets[i] + (uint64_t)length;
        if (!length || memchr(word, 0, (size_t)length)) {
            PyErr_Format(PyExc_ValueError, "entry %zu is empty or holds NUL", i);
            return -1;
        }
        Key key = vocabulary->keys[i] = key_of(word, (size_t)length);
        *find(vocabulary, word, (size_t)length, key) = (Slot){
            .tag = tag_of(hash_key(key)),
            .index = (uint32_t)i,
        };
    }
    return 0;
}

/* ---- Layers ---- */

enum { LANES = 16 };

/* Four registers of SSE or NEON. */
typedef struct {
    float lane[LANES];
} Lanes;

typedef enum { LINEAR, RELU, SIGMOID, SOFTMAX } Activation;

typedef struct {
    size_t inputs;
    size_t units;
    size_t blocks;  /* of LANES, zeros behind the last unit */
    Lanes *weights; /* the kernel, (inputs, blocks), then the bias, (blocks,) */
    Activation activation;
} Layer;

/* Fills from a kernel (inputs, units) and a bias (units,). Returns -1 without memory. */
static int layer_fill(Layer *layer, const float *kernel, const float *bias, size_t inputs, size_t units,
                      Activation activation)
{
    size_t blocks = (units + LANES - 1) / LANES;
    *layer = (Layer){.inputs = inputs, .units = units, .blocks = blocks, .activation = activation};
    size_t size = (inputs + 1) * blocks * sizeof(Lanes);
    layer->weights = aligned_alloc(sizeof(Lanes), size);
    if (!layer->weights) {
        return -1;
    }
    memset(layer->weights, 0, size);
    for (size_t row = 0; row < inputs; row++) {
        memcpy(layer->weights + row * blocks, kernel + row * units, units * sizeof(float));
    }
    memcpy(layer->weights + inputs * blocks, bias, units * sizeof(float));
    return 0;
}

/* sum += factor * row */
static inline void add(Lanes *sum, float factor, const Lanes *row)
{
    for (int lane = 0; lane < LANES; lane++) {
        sum->lane[lane] += factor * row->lane[lane];
    }
}

/* The layer's sums, (blocks,), for a vector with ones at `rows` and zeros elsewhere. Two sums at once: an addition
   takes longer than until the next can begin. */
FOR_EACH_REGISTER_WIDTH
static void add_rows(const Layer *layer, const uint32_t *rows, size_t count, Lanes *out)
{
    for (size_t block = 0; block < layer->blocks; block++) {
        const Lanes *weights = layer->weights + block;
        Lanes even = weights[layer->inputs * layer->blocks], odd = {0};
        size_t i = 0;
        for (; i + 1 < count; i += 2) {
            add(&even, 1, &weights[rows[i] * layer->blocks]);
            add(&odd, 1, &weights[rows[i + 1] * layer->blocks]);
        }
        if (i < count) {
            add(&even, 1, &weights[rows[i] * layer->blocks]);
        }
        add(&even, 1, &odd);
        out[block] = even;
    }
}

/* The layer's sums, (blocks,), for a vector (inputs,). */
FOR_EACH_REGISTER_WIDTH
static void multiply(const Layer *layer, const float *in, Lanes *out)
{
    for (size_t block = 0; block < layer->blocks; block++) {
        const Lanes *weights = layer->weights + block;
        Lanes even = weights[layer->inputs * layer->blocks], odd = {0};
        size_t i = 0;
        for (; i + 1 < layer->inputs; i += 2) {
            add(&even, in[i], &weights[i * layer->blocks]);
            add(&odd, in[i + 1], &weights[(i + 1) * layer->blocks]);
        }
        if (i < layer->inputs) {
            add(&even, in[i], &weights[i * layer->blocks]);
        }
        add(&even, 1, &odd);
        out[block] = even;
    }
}

static void activate(const Layer *layer, float *values)
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
    case SOFTMAX: {
        float highest = values[0], total = 0;
        for (size_t i = 1; i < layer->units; i++) {
            highest = values[i] > highest ? values[i] : highest;
        }
        for (size_t i = 0; i < layer->units; i++) {
            values[i] = expf(values[i] - highest);
            total += values[i];
        }
        for (size_t i = 0; i < layer->units; i++) {
            values[i] /= total;
        }
        break;
    }
    }
}

/* ---- The network ---- */

typedef struct {
    PyObject_HEAD
    Py_buffer characters;
    Reading reading;
    Vocabulary vocabulary;
    uint32_t start;
    Layer *layers;
    size_t layer_count;
    size_t widest; /* blocks */
    size_t classes;
} Network;

typedef struct {
    const uint8_t *utf8;
    size_t length;
} Text;

/* What one call works in, so that calls at the same time share nothing that changes. */
typedef struct {
    uint8_t *text;  /* what it is read as, then a separator and PADDING */
    uint32_t *rows; /* the distinct indices that the text holds, and room for one more */
    uint8_t *held;  /* (size of the vocabulary,), 1 at these; zeros between texts */
    Lanes *sums[2]; /* what goes into a layer and what comes out of it, in turns */
} Scratch;

static void scratch_free(Scratch *scratch)
{
    free(scratch->text);
    free(scratch->held);
    free(scratch->rows);
    free(scratch->sums[0]);
}

/* Returns -1 without memory. */
static int scratch_fill(Scratch *scratch, const Network *network, size_t longest)
{
    size_t sums = network->widest * sizeof(Lanes);
    *scratch = (Scratch){
        .text = malloc(GROWTH * longest + PADDING),
        .rows = malloc((network->vocabulary.size + 1) * sizeof(uint32_t)),
        .held = calloc(network->vocabulary.size, 1),
        .sums = {aligned_alloc(sizeof(Lanes), 2 * sums)},
    };
    if (!scratch->text || !scratch->held || !scratch->rows || !scratch->sums[0]) {
        scratch_free(scratch);
        return -1;
    }
    scratch->sums[1] = scratch->sums[0] + network->widest;
    return 0;
}

typedef struct {
    int32_t words;
    int32_t known;
    size_t distinct; /* rows in the scratch */
} Counts;

/* A bit for each of 8 bytes: whether it is a space. */
static uint64_t spaces(uint64_t bytes)
{
    const uint64_t low = 0x7F7F7F7F7F7F7F7F;
    bytes ^= 0x2020202020202020;
    uint64_t high = ~(((bytes & low) + low) | bytes | low); /* the high bit of each byte that was a space */
    return (high >> 7) * 0x0102040810204080 >> 56;
}

/* Finds the text's words in the vocabulary. Each word lies between two edges: where separators end and begin. */
static Counts look_up(const Network *network, Text text, Scratch *scratch)
{
    const Vocabulary *vocabulary = &network->vocabulary;
    uint8_t *read = scratch->text;
    size_t length = read_text(&network->reading, text.utf8, text.length, read);
    memset(read + length, ' ', PADDING); /* ends the last word */

    Counts counts = {.distinct = 1};
    scratch->rows[0] = network->start;
    scratch->held[network->start] = 1;
    size_t edges[1 + 64];
    size_t count = 0;
    uint64_t before = 1; /* as if a separator were before the text */
    for (size_t at = 0; at <= length; at += 64) {
        uint64_t separators = 0;
        for (size_t i = 0; i < 64; i += 8) {
            separators |= spaces(load(read + at + i)) << i;
        }
        for (uint64_t bits = separators ^ (separators << 1 | before); bits; bits &= bits - 1) {
            edges[count++] = at + (size_t)__builtin_ctzll(bits);
        }
        before = separators >> 63;

        size_t i = 0;
        for (; i + 1 < count; i += 2) {
            const uint8_t *word = read + edges[i];
            size_t size = edges[i + 1] - edges[i];
            uint32_t index = find(vocabulary, word, size, key_of(word, size))->index;
            counts.words++;
            counts.known += index != vocabulary->unknown;
            scratch->rows[counts.distinct] = index;
            counts.distinct += !scratch->held[index];
            scratch->held[index] = 1;
        }
        count -= i; /* a word that the next 64 bytes end */
        if (count) {
            edges[0] = edges[i];
        }
    }
    for (size_t i = 0; i < counts.distinct; i++) {
        scratch->held[scratch->rows[i]] = 0;
    }
    return counts;
}

static Counts classify(const Network *network, Text text, Scratch *scratch, float *probabilities)
{
    Counts counts = look_up(network, text, scratch);
    Lanes *in = scratch->sums[0], *out = scratch->sums[1];
    for (size_t i = 0; i < network->layer_count; i++) {
        const Layer *layer = &network->layers[i];
        if (i == 0) {
            add_rows(layer, scratch->rows, counts.distinct, out);
        } else {
            multiply(layer, (const float *)in, out);
        }
        activate(layer, (float *)out);
        Lanes *other = in;
        in = out;
        out = other;
    }
    const float *last = (const float *)in;
    if (network->layers[network->layer_count - 1].units == 1) {
        probabilities[0] = 1 - last[0];
        probabilities[1] = last[0];
    } else {
        memcpy(probabilities, last, network->classes * sizeof(float));
    }
    return counts;
}

/* ---- Python ---- */

static const char *const ACTIVATIONS[] = {
    [LINEAR] = "linear",
    [RELU] = "relu",
    [SIGMOID] = "sigmoid",
    [SOFTMAX] = "softmax",
};

static int fill_characters(Network *network)
{
    if (network->characters.len != CHARACTERS * (Py_ssize_t)sizeof(uint32_t)) {
        PyErr_Format(PyExc_ValueError, "characters are %d values of uint32", CHARACTERS);
        return -1;
    }
    Reading *reading = &network->reading;
    reading->character = network->characters.buf;
    memset(reading->ascii, STAND_IN, sizeof reading->ascii);
    for (size_t i = 0; i < CHARACTERS; i++) {
        uint32_t character = reading->character[i];
        if (character > 0x10FFFF) {
            PyErr_Format(PyExc_ValueError, "character %zu is read as %u, which is none", i, character);
            return -1;
        }
        if (i < ASCII && character < ASCII) {
            reading->ascii[i] = (uint8_t)character;
        }
    }
    return 0;
}

static int fill_layer(Layer *layer, PyObject *arguments, size_t inputs)
{
    Py_buffer kernel, bias;
    const char *name;
    if (!PyTuple_Check(arguments)) {
        PyErr_SetString(PyExc_TypeError, "a layer is a tuple");
        return -1;
    }
    if (!PyArg_ParseTuple(arguments, "y*y*s;a layer is (kernel, bias, activation)", &kernel, &bias, &name)) {
        return -1;
    }
    int result = -1;
    size_t units = (size_t)bias.len / sizeof(float), activation = 0;
    while (activation <= SOFTMAX && strcmp(name, ACTIVATIONS[activation])) {
        activation++;
    }
    if (activation > SOFTMAX) {
        PyErr_Format(PyExc_ValueError, "no such activation: %s", name);
    } else if (!units || (size_t)bias.len % sizeof(float) || (size_t)kernel.len / inputs != (size_t)bias.len
               || (size_t)kernel.len % inputs) {
        PyErr_Format(PyExc_ValueError, "a layer of %zu inputs has a kernel of %zd bytes, a bias of %zd", inputs,
                     kernel.len, bias.len);
    } else if (layer_fill(layer, kernel.buf, bias.buf, inputs, units, (Activation)activation)) {
        PyErr_NoMemory();
    } else {
        result = 0;
    }
    PyBuffer_Release(&kernel);
    PyBuffer_Release(&bias);
    return result;
}

static int fill_layers(Network *network, PyObject *layers)
{
    size_t count = (size_t)PyTuple_Size(layers), inputs = network->vocabulary.size;
    network->layers = count ? calloc(count, sizeof(Layer)) : NULL;
    if (!network->layers) {
        PyErr_SetString(count ? PyExc_MemoryError : PyExc_ValueError, "a network has layers");
        return -1;
    }
    network->layer_count = count;
    for (size_t i = 0; i < count; i++) {
        Layer *layer = &network->layers[i];
        if (fill_layer(layer, PyTuple_GetItem(layers, (Py_ssize_t)i), inputs)) {
            return -1;
        }
        network->widest = layer->blocks > network->widest ? layer->blocks : network->widest;
        inputs = layer->units;
    }
    network->classes = inputs == 1 ? 2 : inputs;
    return 0;
}

static void network_dealloc(PyObject *self)
{
    Network *network = (Network *)self;
    PyTypeObject *type = Py_TYPE(self);
    if (network->characters.obj) {
        PyBuffer_Release(&network->characters);
    }
    vocabulary_free(&network->vocabulary);
    for (size_t i = 0; i < network->layer_count; i++) {
        free(network->layers[i].weights);
    }
    free(network->layers);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
    Py_DECREF(type);
}

static PyObject *network_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    static char *names[] = {"characters", "entries", "layers", "start", "unknown", NULL};
    Network *network = (Network *)((allocfunc)PyType_GetSlot(type, Py_tp_alloc))(type, 0);
    if (!network) {
        return NULL;
    }
    PyObject *entries, *layers;
    unsigned int start, unknown;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "y*O!O!II", names, &network->characters, &PyTuple_Type,
                                     &entries, &PyTuple_Type, &layers, &start, &unknown)) {
        goto error;
    }
    size_t size = (size_t)PyTuple_Size(entries);
    if (start >= size || unknown >= size || size > INT32_MAX) {
        PyErr_SetString(PyExc_ValueError, "start and unknown are indices of entries");
        goto error;
    }
    network->start = start;
    if (fill_characters(network) || vocabulary_fill(&network->vocabulary, entries, unknown)
        || fill_layers(network, layers)) {
        goto error;
    }
    return (PyObject *)network;
error:
    Py_DECREF(network);
    return NULL;
}

/* Borrows the text's UTF-8. Returns -1 with an exception set for what is not str or has no UTF-8. */
static int text_of(PyObject *object, Text *text)
{
    Py_ssize_t length;
    const char *utf8 = PyUnicode_AsUTF8AndSize(object, &length);
    if (!utf8) {
        return -1;
    }
    if (length >= INT32_MAX) {
        PyErr_SetString(PyExc_ValueError, "a text is shorter than 2 GiB");
        return -1;
    }
    *text = (Text){.utf8 = (const uint8_t *)utf8, .length = (size_t)length};
    return 0;
}

static int compare(const void *left, const void *right)
{
    uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
    return (a > b) - (a < b);
}

static PyObject *network_indices(PyObject *self, PyObject *object)
{
    const Network *network = (const Network *)self;
    Text text;
    Scratch scratch;
    if (text_of(object, &text)) {
        return NULL;
    }
    if (scratch_fill(&scratch, network, text.length)) {
        return PyErr_NoMemory();
    }
    Counts counts = look_up(network, text, &scratch);
    qsort(scratch.rows, counts.distinct, sizeof *scratch.rows, compare);
    PyObject *indices = PyList_New((Py_ssize_t)counts.distinct);
    for (size_t i = 0; indices && i < counts.distinct; i++) {
        PyObject *index = PyLong_FromUnsignedLong(scratch.rows[i]);
        if (!index) {
            Py_CLEAR(indices);
        } else {
            PyList_SetItem(indices, (Py_ssize_t)i, index);
        }
    }
    scratch_free(&scratch);
    return indices;
}

/* Fills the arrays for texts that nobody else can change meanwhile. */
static int classify_texts(const Network *network, PyObject *objects, float *probabilities, int32_t *words,
                          int32_t *known_words)
{
    size_t count = (size_t)PyTuple_Size(objects), longest = 0, total = 0;
    Text *texts = malloc((count + 1) * sizeof(Text));
    if (!texts) {
        PyErr_NoMemory();
        return -1;
    }
    for (size_t i = 0; i < count; i++) {
        if (text_of(PyTuple_GetItem(objects, (Py_ssize_t)i), &texts[i])) {
            free(texts);
            return -1;
        }
        longest = texts[i].length > longest ? texts[i].length : longest;
        total += texts[i].length;
    }
    Scratch scratch;
    if (scratch_fill(&scratch, network, longest)) {
        free(texts);
        PyErr_NoMemory();
        return -1;
    }
    /* Between threads the GIL costs more to hand over than a short text takes. */
    PyThreadState *released = total > SHORT_BYTES ? PyEval_SaveThread() : NULL;
    for (size_t i = 0; i < count; i++) {
        Counts counts = classify(network, texts[i], &scratch, probabilities + i * network->classes);
        words[i] = counts.words;
        known_words[i] = counts.known;
    }
    if (released)
        PyEval_RestoreThread(released);
    scratch_free(&scratch);
    free(texts);
    return 0;
}

static PyObject *network_classify(PyObject *self, PyObject *arguments)
{
    const Network *network = (const Network *)self;
    PyObject *texts;
    Py_buffer probabilities, words, known_words;
    if (!PyArg_ParseTuple(arguments, "O!w*w*w*", &PyTuple_Type, &texts, &probabilities, &words, &known_words)) {
        return NULL;
    }
    int result = -1;
    size_t count = (size_t)PyTuple_Size(texts);
    if ((size_t)probabilities.len != count * network->classes * sizeof(float)
        || (size_t)words.len != count * sizeof(int32_t) || (size_t)known_words.len != count * sizeof(int32_t)) {
        PyErr_Format(PyExc_ValueError, "for %zu texts: float32 (%zu, %zu), int32 (%zu,), int32 (%zu,)", count, count,
                     network->classes, count, count);
    } else {
        result = classify_texts(network, texts, probabilities.buf, words.buf, known_words.buf);
    }
    PyBuffer_Release(&probabilities);
    PyBuffer_Release(&words);
    PyBuffer_Release(&known_words);
    return result ? NULL : Py_NewRef(Py_None);
}

static PyMethodDef network_methods[] = {
    {"classify", network_classify, METH_VARARGS,
     PyDoc_STR("classify(texts, probabilities, words, known_words)\n--\n\nFills the three arrays.")},
    {"indices", network_indices, METH_O,
     PyDoc_STR("indices(text)\n--\n\nThe distinct indices that the text holds, rising.")},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot network_slots[] = {
    {Py_tp_doc, PyDoc_STR("Network(characters, entries, layers, start, unknown)\n--\n\nA bag-of-words network.")},
    {Py_tp_new, network_new},
    {Py_tp_dealloc, network_dealloc},
    {Py_tp_methods, network_methods},
    {0, NULL},
};

static PyType_Spec network_spec = {
    .name = "textmodel._bag_of_words.Network",
    .basicsize = sizeof(Network),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = network_slots,
};

static int add_network(PyObject *module)
{
    PyObject *type = PyType_FromModuleAndSpec(module, &network_spec, NULL);
    int result = type ? PyModule_AddType(module, (PyTypeObject *)type) : -1;
    Py_XDECREF(type);
    return result;
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, add_network},
    {0, NULL},
};

static PyModuleDef module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "textmodel._bag_of_words",
    .m_doc = PyDoc_STR("Bag-of-words networks, compiled."),
    .m_slots = module_slots,
};

PyMODINIT_FUNC PyInit__bag_of_words(void)
{
    return PyModuleDef_Init(&module);
}
