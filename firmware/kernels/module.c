// The Python module _kernels, as a native module or inside a firmware. No other file knows MicroPython.
// run(mem, off) calls the kernel of a record: mem is a tuple of arena, state, const, program and weights, off a
// place in program. One function serves all kernels, because each Python function of its own would cost a board
// 60 bytes of RAM.
#include "kernel.h"

#if defined(MICROPY_ENABLE_DYNRUNTIME)
#include "py/dynruntime.h"
#else
#include "py/objstr.h"
#include "py/runtime.h"
#endif

typedef int32_t (*kernel_t)(uint8_t *const *mem, uint32_t off);

#define CODE(name) TRIMTAB_OP_##name,
#define POINTER(name) trimtab_##name,
static const uint8_t opcodes[] = { TRIMTAB_KERNELS(CODE) };
static const kernel_t kernels[] = { TRIMTAB_KERNELS(POINTER) }; // of these opcodes

// The kernel of the record at `record`, which lies at off in `size` bytes; null where there is none.
static kernel_t kernel_at(const int32_t *record, size_t off, size_t size) {
    if ((uintptr_t)record % 4 == 0 && size >= 4 && off <= size - 4) {
        for (size_t i = 0; i < sizeof(opcodes); i++) {
            if (*record == opcodes[i]) {
                return kernels[i];
            }
        }
    }
    return 0;
}

// Loading a package has checked what its records point at.
static mp_obj_t run(mp_obj_t mem_in, mp_obj_t off_in) {
    const mp_obj_tuple_t *spaces = MP_OBJ_TO_PTR(mem_in);
    if (mp_obj_get_type(mem_in) != mp_obj_get_type(mp_const_empty_tuple) || spaces->len != 5) {
        mp_raise_ValueError(MP_ERROR_TEXT("memory is a tuple of five buffers"));
    }
    uint8_t *mem[5];
    size_t length[5];
    mp_buffer_info_t buffer;
    for (size_t i = 0; i < 5; i++) {
        mp_get_buffer_raise(spaces->items[i], &buffer, MP_BUFFER_READ);
        mem[i] = buffer.buf;
        length[i] = buffer.len;
    }
    size_t off = (size_t)mp_obj_get_int(off_in);
    kernel_t kernel = kernel_at((const int32_t *)(mem[TRIMTAB_PROGRAM] + off), off, length[TRIMTAB_PROGRAM]);
    int32_t value = kernel ? kernel(mem, off) : TRIMTAB_DECLINED;
    if (value == TRIMTAB_DECLINED) {
        mp_raise_ValueError(MP_ERROR_TEXT("these kernels are for another package: run `trimtab deploy`"));
    }
    return MP_OBJ_NEW_SMALL_INT(value);
}

static MP_DEFINE_CONST_FUN_OBJ_2(run_obj, run);

#if defined(MICROPY_ENABLE_DYNRUNTIME)

mp_obj_t mpy_init(mp_obj_fun_bc_t *self, size_t n_args, size_t n_kw, mp_obj_t *args) {
    MP_DYNRUNTIME_INIT_ENTRY
    mp_store_global(MP_QSTR_run, MP_OBJ_FROM_PTR(&run_obj));
    mp_store_global(MP_QSTR_OPCODES, mp_obj_new_bytes(opcodes, sizeof(opcodes)));
    mp_store_global(MP_QSTR_ABI, MP_OBJ_NEW_SMALL_INT(TRIMTAB_ABI));
    MP_DYNRUNTIME_INIT_EXIT
}

#else

static const mp_obj_str_t opcodes_obj = { { &mp_type_bytes }, 0, sizeof(opcodes), opcodes };

static const mp_rom_map_elem_t globals_table[] = {
    { MP_ROM_QSTR(MP_QSTR___name__), MP_ROM_QSTR(MP_QSTR__kernels) },
    { MP_ROM_QSTR(MP_QSTR_ABI), MP_ROM_INT(TRIMTAB_ABI) },
    { MP_ROM_QSTR(MP_QSTR_run), MP_ROM_PTR(&run_obj) },
    { MP_ROM_QSTR(MP_QSTR_OPCODES), MP_ROM_PTR(&opcodes_obj) },
};
static MP_DEFINE_CONST_DICT(globals, globals_table);

const mp_obj_module_t trimtab_kernels_module = {
    .base = { &mp_type_module },
    .globals = (mp_obj_dict_t *)&globals,
};

MP_REGISTER_MODULE(MP_QSTR__kernels, trimtab_kernels_module);

#endif
