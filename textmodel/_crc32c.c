/* CRC-32C (Castagnoli), which TensorFlow's checkpoints carry, 8 bytes at a time ("slicing by 8"). */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>

#include <stdint.h>

static const uint32_t POLYNOMIAL = 0x82F63B78; /* bits reversed */

static uint32_t TABLE[8][256]; /* [zeros behind][byte]; the same values whoever fills it */

static void fill_table(void)
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; bit++) {
            crc = crc >> 1 ^ (crc & 1 ? POLYNOMIAL : 0);
        }
        TABLE[0][byte] = crc;
    }
    for (uint32_t byte = 0; byte < 256; byte++) {
        for (int zeros = 1; zeros < 8; zeros++) {
            uint32_t crc = TABLE[zeros - 1][byte];
            TABLE[zeros][byte] = crc >> 8 ^ TABLE[0][crc & 0xFF];
        }
    }
}

static uint32_t crc32c(const uint8_t *data, size_t size)
{
    uint32_t crc = UINT32_MAX;
    for (; size >= 8; data += 8, size -= 8) {
        uint32_t next = 0;
        for (int i = 0; i < 8; i++) {
            uint8_t byte = i < 4 ? data[i] ^ (uint8_t)(crc >> 8 * i) : data[i];
            next ^= TABLE[7 - i][byte];
        }
        crc = next;
    }
    for (; size; data++, size--) {
        crc = crc >> 8 ^ TABLE[0][(crc ^ *data) & 0xFF];
    }
    return ~crc;
}

static PyObject *python_crc32c(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    Py_buffer data;
    if (!PyArg_ParseTuple(arguments, "y*", &data)) {
        return NULL;
    }
    uint32_t crc = crc32c(data.buf, (size_t)data.len);
    PyBuffer_Release(&data);
    return PyLong_FromUnsignedLong(crc);
}

static PyMethodDef methods[] = {
    {"crc32c", python_crc32c, METH_VARARGS, PyDoc_STR("crc32c(data)\n--\n\nThe CRC-32C of bytes.")},
    {NULL, NULL, 0, NULL},
};

static int execute(PyObject *Py_UNUSED(module))
{
    fill_table();
    return 0;
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, execute},
    {0, NULL},
};

static PyModuleDef module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "textmodel._crc32c",
    .m_doc = PyDoc_STR("The checksum of TensorFlow's checkpoints."),
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__crc32c(void)
{
    return PyModuleDef_Init(&module);
}
