/* libFuzzer around an embedded Python: fuzz.target.check gets each input, and an exception that
   leaves it is a finding. The instrumented code is that of ext/, loaded as the extension modules.
   PYTHON is the path of the interpreter whose packages are used. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdint.h>
#include <stdlib.h>

static PyObject *check;

static void give_up(void) {
    PyErr_Print();
    abort(); /* libFuzzer keeps the input */
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    PyConfig config;
    PyObject *target;
    (void)argc;
    (void)argv;
    PyConfig_InitPythonConfig(&config);
    config.install_signal_handlers = 0; /* they are libFuzzer's */
    config.write_bytecode = 0;
    if (PyStatus_Exception(PyConfig_SetBytesString(&config, &config.program_name, PYTHON))
        || PyStatus_Exception(Py_InitializeFromConfig(&config)))
        abort();
    PyConfig_Clear(&config);
    target = PyImport_ImportModule("fuzz.target");
    if (target == NULL)
        give_up();
    check = PyObject_GetAttrString(target, "check");
    Py_DECREF(target);
    if (check == NULL)
        give_up();
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    PyObject *result = PyObject_CallFunction(check, "y#", (const char *)data, (Py_ssize_t)size);
    if (result == NULL)
        give_up();
    Py_DECREF(result);
    return 0;
}
