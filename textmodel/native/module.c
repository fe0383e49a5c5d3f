/* The Python module `textmodel._native`: bag-of-words networks that run without the GIL. */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>

#include "network.h"
#include "network_api.h"

#include <stdlib.h>
#include <string.h>

/* Up to this many bytes of text, about 50 us of work, `classify` keeps the GIL. */
#define SHORT_BYTES 16384

typedef struct {
    PyObject_HEAD
    Py_buffer characters;
    Py_buffer composition[3];
    Network network;
    NetworkApi api;
} NetworkObject;

static Network *network_of(PyObject *self)
{
    return &((NetworkObject *)self)->network;
}

/* Borrows the UTF-8 of a str. Returns -1 with an exception set if the object is not a str or contains a surrogate. */
static int text_of(PyObject *object, Text *text)
{
    Py_ssize_t length;
    const char *utf8 = PyUnicode_AsUTF8AndSize(object, &length);
    if (!utf8) {
        return -1;
    }
    if (length >= INT32_MAX) {
        PyErr_SetString(PyExc_ValueError, "a text must be shorter than 2 GiB");
        return -1;
    }
    *text = (Text){.utf8 = (const uint8_t *)utf8, .length = (size_t)length};
    return 0;
}

/* Borrows the UTF-8 of all texts of a tuple. Returns NULL with an exception set on failure. */
static Text *texts_of(PyObject *objects, size_t *total)
{
    size_t count = (size_t)PyTuple_Size(objects);
    Text *texts = malloc((count + 1) * sizeof(Text));
    if (!texts) {
        PyErr_NoMemory();
        return NULL;
    }
    *total = 0;
    for (size_t i = 0; i < count; i++) {
        if (text_of(PyTuple_GetItem(objects, (Py_ssize_t)i), &texts[i])) {
            free(texts);
            return NULL;
        }
        *total += texts[i].length;
    }
    return texts;
}

/* ---- Construction from Python objects ---- */

static const char *const ACTIVATIONS[] = {
    [LINEAR] = "linear",
    [RELU] = "relu",
    [SIGMOID] = "sigmoid",
    [SOFTMAX] = "softmax",
    [ONE_VS_REST] = "one-vs-rest",
};

/* `scale`, (inputs,), makes a scaled layer; NULL: none. */
static int fill_layer(Layer *layer, PyObject *arguments, size_t inputs, const float *scale)
{
    Py_buffer kernel, bias;
    const char *name;
    if (!PyTuple_Check(arguments)) {
        PyErr_SetString(PyExc_TypeError, "a layer must be a tuple");
        return -1;
    }
    if (!PyArg_ParseTuple(arguments, "y*y*s;a layer is (kernel, bias, activation)", &kernel, &bias, &name)) {
        return -1;
    }
    int result = -1;
    size_t units = (size_t)bias.len / sizeof(float), activation = 0;
    while (activation <= ONE_VS_REST && strcmp(name, ACTIVATIONS[activation])) {
        activation++;
    }
    if (activation > ONE_VS_REST) {
        PyErr_Format(PyExc_ValueError, "no such activation: %s", name);
    } else if (!units || (size_t)bias.len % sizeof(float) || (size_t)kernel.len != inputs * (size_t)bias.len) {
        PyErr_Format(PyExc_ValueError, "a layer of %zu inputs has a kernel of %zd bytes, a bias of %zd", inputs,
                     kernel.len, bias.len);
    } else if (layer_init(layer, kernel.buf, bias.buf, scale, inputs, units, (Activation)activation)) {
        PyErr_NoMemory();
    } else {
        result = 0;
    }
    PyBuffer_Release(&kernel);
    PyBuffer_Release(&bias);
    return result;
}

/* The first layer has `inputs` inputs, and is scaled unless `scale` is NULL. */
static int fill_layers(Network *network, PyObject *layers, size_t inputs, const float *scale)
{
    size_t count = (size_t)PyTuple_Size(layers);
    network->layers = count ? calloc(count, sizeof(Layer)) : NULL;
    if (!network->layers) {
        PyErr_SetString(count ? PyExc_MemoryError : PyExc_ValueError, "a network needs a layer");
        return -1;
    }
    network->layer_count = count;
    for (size_t i = 0; i < count; i++) {
        Layer *layer = &network->layers[i];
        if (fill_layer(layer, PyTuple_GetItem(layers, (Py_ssize_t)i), inputs, i ? NULL : scale)) {
            return -1;
        }
        network->widest = layer->blocks > network->widest ? layer->blocks : network->widest;
        inputs = layer->units;
    }
    network->classes = inputs == 1 ? 2 : inputs;
    return 0;
}

static int fill_vocabulary(Vocabulary *vocabulary, PyObject *entries, uint32_t unknown)
{
    size_t size = (size_t)PyTuple_Size(entries), total;
    Text *texts = texts_of(entries, &total);
    if (!texts) {
        return -1;
    }
    int result = 0;
    for (size_t i = 0; i < size && !result; i++) {
        if (!texts[i].length || memchr(texts[i].utf8, 0, texts[i].length)) {
            PyErr_Format(PyExc_ValueError, "entry %zu is empty or contains NUL", i);
            result = -1;
        }
    }
    if (!result && vocabulary_init(vocabulary, texts, size, unknown)) {
        PyErr_NoMemory();
        result = -1;
    }
    free(texts);
    return result;
}

/* Sets up a network over words and their n-grams. */
static int fill_ngrams(Network *network, PyObject *arguments, PyObject *layers)
{
    Py_buffer scale;
    unsigned int orders, first_word;
    int log_counts, normalize;
    if (!PyTuple_Check(arguments)) {
        PyErr_SetString(PyExc_TypeError, "ngrams must be a tuple or None");
        return -1;
    }
    if (!PyArg_ParseTuple(arguments, "y*IIpp;n-grams are (scale, orders, first_word, log_counts, normalize)", &scale,
                          &orders, &first_word, &log_counts, &normalize)) {
        return -1;
    }
    int result = -1;
    size_t words = network->vocabulary.size, features = (size_t)scale.len / sizeof(float);
    size_t buckets = features - words;
    if (orders < 1 || orders > MAX_ORDERS || (size_t)scale.len % sizeof(float) || features < words
        || features > INT32_MAX || (orders > 1 && !buckets) || buckets & (buckets - 1)) {
        PyErr_Format(PyExc_ValueError, "n-grams of up to %u of %zu words have no scale of %zd bytes", orders, words,
                     scale.len);
    } else {
        network->vectorizer = NGRAMS;
        network->normalize = normalize;
        network->weights = count_weights(log_counts);
        network->ngrams = (NGrams){
            .num_words = (uint32_t)words,
            .mask = (uint32_t)buckets - 1,
            .first_word = first_word,
            .orders = orders,
        };
        result = fill_layers(network, layers, features, scale.buf);
    }
    PyBuffer_Release(&scale);
    return result;
}

/* Returns whether the kept buckets are in ascending order and below `buckets`. */
static int are_buckets(const int32_t *kept, size_t rows, uint32_t buckets)
{
    int64_t before = -1;
    for (size_t row = 0; row < rows; row++) {
        if (kept[row] <= before) {
            return 0;
        }
        before = kept[row];
    }
    return before < (int64_t)buckets;
}

/* Sets up a network over hashed n-grams. */
static int fill_hashed(Network *network, PyObject *arguments, PyObject *layers)
{
    Py_buffer kept, scale, known;
    HashedNGrams *hashed = &network->hashed;
    unsigned int buckets;
    int log_counts;
    if (!PyTuple_Check(arguments)) {
        PyErr_SetString(PyExc_TypeError, "hashed must be a tuple or None");
        return -1;
    }
    if (!PyArg_ParseTuple(arguments,
                          "y*y*y*IIIIppp;hashed n-grams are (kept, scale, known_words, buckets, words, min, max, "
                          "across_words, log_counts, normalize)",
                          &kept, &scale, &known, &buckets, &hashed->words, &hashed->min, &hashed->max,
                          &hashed->across_words, &log_counts, &network->normalize)) {
        return -1;
    }
    int result = -1;
    size_t rows = (size_t)kept.len / sizeof(int32_t), known_bytes = (size_t)known.len;
    network->vectorizer = HASHED_NGRAMS;
    network->weights = count_weights(log_counts);
    if (!buckets || buckets & (buckets - 1) || buckets > INT32_MAX || hashed->words > MAX_WORDS
        || hashed->max > MAX_CHARACTERS || (hashed->max && (!hashed->min || hashed->min > hashed->max))) {
        PyErr_SetString(PyExc_ValueError, "the number of buckets must be a power of two, and n-grams have at most 3 words "
                                          "or 6 characters");
    } else if ((size_t)scale.len != rows * sizeof(float) || !are_buckets(kept.buf, rows, buckets)) {
        PyErr_Format(PyExc_ValueError, "kept buckets must be in ascending order and below %u, with one scale each",
                     buckets);
    } else if (!known_bytes || known_bytes & (known_bytes - 1) || known_bytes > UINT32_MAX / 8) {
        PyErr_SetString(PyExc_ValueError, "known words must be a power of two of bytes");
    } else if (hashed_init(hashed, kept.buf, rows, buckets, known.buf, known_bytes)) {
        PyErr_NoMemory();
    } else {
        result = fill_layers(network, layers, rows, scale.buf);
    }
    PyBuffer_Release(&kept);
    PyBuffer_Release(&scale);
    PyBuffer_Release(&known);
    return result;
}

/* Borrows the tables of canonical composition. */
static int fill_composition(NetworkObject *object, PyObject *arguments)
{
    static const size_t width[3] = {6, 2, 3};
    Py_buffer *tables = object->composition;
    if (!PyTuple_Check(arguments)) {
        PyErr_SetString(PyExc_TypeError, "composition must be a tuple or None");
        return -1;
    }
    if (!PyArg_ParseTuple(arguments, "y*y*y*;a composition is (decompositions, marks, pairs)", &tables[0], &tables[1],
                          &tables[2])) {
        return -1;
    }
    size_t rows[3];
    for (int table = 0; table < 3; table++) {
        size_t row = width[table] * sizeof(int32_t);
        rows[table] = (size_t)tables[table].len / row;
        if ((size_t)tables[table].len % row) {
            PyErr_SetString(PyExc_ValueError, "the tables of a composition have 6, 2 and 3 columns of int32");
            return -1;
        }
    }
    object->network.composition = (Composition){
        .decompositions = tables[0].buf,
        .marks = tables[1].buf,
        .pairs = tables[2].buf,
        .decomposition_count = rows[0],
        .mark_count = rows[1],
        .pair_count = rows[2],
    };
    return 0;
}

static void network_dealloc(PyObject *self)
{
    NetworkObject *object = (NetworkObject *)self;
    PyTypeObject *type = Py_TYPE(self);
    network_free(&object->network);
    if (object->characters.obj) {
        PyBuffer_Release(&object->characters);
    }
    for (int table = 0; table < 3; table++) {
        if (object->composition[table].obj) {
            PyBuffer_Release(&object->composition[table]);
        }
    }
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
    Py_DECREF(type);
}

static PyObject *network_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    static char *names[] = {"characters", "entries", "layers",      "start", "unknown",
                            "ngrams",     "hashed",  "composition", NULL};
    NetworkObject *object = (NetworkObject *)((allocfunc)PyType_GetSlot(type, Py_tp_alloc))(type, 0);
    if (!object) {
        return NULL;
    }
    Network *network = &object->network;
    PyObject *entries, *layers, *ngrams = Py_None, *hashed = Py_None, *composition = Py_None;
    unsigned int start, unknown;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "y*O!O!II|OOO", names, &object->characters, &PyTuple_Type,
                                     &entries, &PyTuple_Type, &layers, &start, &unknown, &ngrams, &hashed,
                                     &composition)) {
        goto error;
    }
    if (object->characters.len % (Py_ssize_t)sizeof(uint32_t)
        || char_table_init(&network->table, object->characters.buf,
                        (size_t)object->characters.len / sizeof(uint32_t))) {
        PyErr_SetString(PyExc_ValueError, "characters must be 128 or more uint32 code points");
        goto error;
    }
    if (composition != Py_None && fill_composition(object, composition)) {
        goto error;
    }
    if (hashed != Py_None) {
        if (fill_hashed(network, hashed, layers)) {
            goto error;
        }
        return (PyObject *)object;
    }
    size_t size = (size_t)PyTuple_Size(entries);
    if (start >= size || unknown >= size || size > INT32_MAX) {
        PyErr_SetString(PyExc_ValueError, "start and unknown must be indices of entries");
        goto error;
    }
    network->start = start;
    if (fill_vocabulary(&network->vocabulary, entries, unknown)
        || (ngrams == Py_None ? fill_layers(network, layers, size, NULL) : fill_ngrams(network, ngrams, layers))) {
        goto error;
    }
    return (PyObject *)object;
error:
    Py_DECREF(object);
    return NULL;
}

/* ---- Methods ---- */

static PyObject *network_features(PyObject *self, PyObject *argument)
{
    const Network *network = network_of(self);
    Text text;
    Scratch scratch;
    void *copy = NULL;
    if (text_of(argument, &text)) {
        return NULL;
    }
    if (compose_texts(network, &text, 1, &copy) || scratch_init(&scratch, network, text.length)) {
        free(copy);
        return PyErr_NoMemory();
    }
    Counts counts = vectorize(network, text, &scratch);
    PyObject *features = PyDict_New();
    for (size_t i = 0; features && i < counts.features; i++) {
        int has_counts = network->vectorizer != MULTI_HOT;
        PyObject *feature = PyLong_FromUnsignedLong(has_counts ? scratch.counts.features[i] : scratch.rows[i]);
        PyObject *count = PyLong_FromUnsignedLong(has_counts ? scratch.counts.counts[i] : 1);
        if (!feature || !count || PyDict_SetItem(features, feature, count)) {
            Py_CLEAR(features);
        }
        Py_XDECREF(feature);
        Py_XDECREF(count);
    }
    scratch_free(&scratch);
    free(copy);
    return features;
}

/* Fills the arrays. `objects` is a tuple of str: immutable, so it is safe to read without the GIL. */
static int classify_texts(const Network *network, PyObject *objects, float *probabilities, int32_t *words,
                          int32_t *known_words)
{
    size_t count = (size_t)PyTuple_Size(objects), total;
    Text *texts = texts_of(objects, &total);
    if (!texts) {
        return -1;
    }
    /* Releasing and reacquiring the GIL costs more than a short text. */
    PyThreadState *released = total > SHORT_BYTES ? PyEval_SaveThread() : NULL;
    int result = classify_all(network, texts, count, probabilities, words, known_words);
    if (released) {
        PyEval_RestoreThread(released);
    }
    if (result) {
        PyErr_NoMemory();
    }
    free(texts);
    return result;
}

static PyObject *network_classify(PyObject *self, PyObject *arguments)
{
    const Network *network = network_of(self);
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

static int api_classify(const void *network, const NetworkText *texts, size_t count, float *probabilities,
                        int32_t *words, int32_t *known_words)
{
    Text *copies = malloc((count + 1) * sizeof(Text));
    if (!copies) {
        return -1;
    }
    for (size_t i = 0; i < count; i++) {
        copies[i] = (Text){.utf8 = texts[i].utf8, .length = texts[i].length};
    }
    int result = classify_all(network, copies, count, probabilities, words, known_words);
    free(copies);
    return result;
}

static void capsule_dealloc(PyObject *capsule)
{
    Py_XDECREF(PyCapsule_GetContext(capsule));
}

static PyObject *network_capsule(PyObject *self, PyObject *nothing)
{
    (void)nothing;
    const Network *network = network_of(self);
    NetworkApi *api = &((NetworkObject *)self)->api;
    *api = (NetworkApi){NETWORK_API_VERSION, (uint32_t)network->classes, network, api_classify};
    PyObject *capsule = PyCapsule_New(api, NETWORK_API_CAPSULE, capsule_dealloc);
    if (capsule && PyCapsule_SetContext(capsule, Py_NewRef(self))) {
        Py_DECREF(self);
        Py_CLEAR(capsule);
    }
    return capsule;
}

static PyMethodDef network_methods[] = {
    {"capsule", network_capsule, METH_NOARGS,
     PyDoc_STR("capsule()\n--\n\nReturns the network for other native code: see network_api.h.")},
    {"classify", network_classify, METH_VARARGS,
     PyDoc_STR("classify(texts, probabilities, words, known_words)\n--\n\nFills the three arrays.")},
    {"features", network_features, METH_O,
     PyDoc_STR("features(text)\n--\n\nReturns the distinct features of the text with their counts.")},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot network_slots[] = {
    {Py_tp_doc, PyDoc_STR("Network(characters, entries, layers, start, unknown, ngrams=None, hashed=None, "
                          "composition=None)\n--\n\nA bag-of-words network.")},
    {Py_tp_new, network_new},
    {Py_tp_dealloc, network_dealloc},
    {Py_tp_methods, network_methods},
    {0, NULL},
};

static PyType_Spec network_spec = {
    .name = "textmodel._native.Network",
    .basicsize = sizeof(NetworkObject),
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
    .m_name = "textmodel._native",
    .m_doc = PyDoc_STR("Bag-of-words networks, compiled."),
    .m_slots = module_slots,
};

PyMODINIT_FUNC PyInit__native(void)
{
    return PyModuleDef_Init(&module);
}
