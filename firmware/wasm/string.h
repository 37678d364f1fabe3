// What the kernels take of the C library, as instructions of WebAssembly.
#ifndef TRIMTAB_WASM_STRING_H
#define TRIMTAB_WASM_STRING_H

#include <stddef.h>

#define memcpy __builtin_memcpy
#define memset __builtin_memset

#endif
