// The Python module _kernels, as a native module or inside a firmware. No other file knows MicroPython.
// run(mem, off) calls the kernel of a record: mem is a tuple of arena, state, const, program and weights, off a
// place in program. run(mem, offsets, i, stop, value) calls those of records i .. stop, as far as BUDGET allows; it
// returns the index behind the last one, and value[0] is what that one returned. For this, mem has a sixth item: a
// function that returns microseconds. A seventh one is the box that core 1 serves (cores.h): serve(box) is what core 1
// runs. One function serves all kernels, because each Python function of its own would cost a board 60 bytes of RAM.
#include "cores.h"
#include "run.h"

#if defined(MICROPY_ENABLE_DYNRUNTIME)
#include "py/dynruntime.h"
#else
#include "py/objstr.h"
#include "py/runtime.h"
#endif

#define BUDGET 10000 // microseconds: Python then has its turn, and with it Ctrl-C and the link
#define SPACES 5
#define TRIMTAB_CLOCK (TRIMTAB_SHARE + 1) // in memory, behind what kernels know

uint32_t trimtab_microseconds(uint8_t *const *mem) {
    const mp_obj_fun_builtin_fixed_t *clock = (const void *)mem[TRIMTAB_CLOCK];
    return (uint32_t)MP_OBJ_SMALL_INT_VALUE(clock->fun._0());
}

// time.ticks_us and its like: other functions might run Python.
static void *clock_of(mp_obj_t function) {
    return mp_obj_get_type(function) == &mp_type_fun_builtin_0 ? MP_OBJ_TO_PTR(function) : 0;
}

// The addresses of memory, of which kernels use the first; returns the bytes of program.
static size_t memory(uint8_t **mem, mp_obj_t mem_in) {
    const mp_obj_tuple_t *spaces = MP_OBJ_TO_PTR(mem_in);
    if (mp_obj_get_type(mem_in) != mp_obj_get_type(mp_const_empty_tuple) || spaces->len < SPACES) {
        mp_raise_ValueError(MP_ERROR_TEXT("memory is a tuple of five buffers"));
    }
    size_t bytes = 0;
    mp_buffer_info_t buffer;
    for (size_t i = 0; i < SPACES; i++) {
        mp_get_buffer_raise(spaces->items[i], &buffer, MP_BUFFER_READ);
        mem[i] = buffer.buf;
        bytes = i == TRIMTAB_PROGRAM ? buffer.len : bytes;
    }
    mem[TRIMTAB_OWN] = mem[TRIMTAB_SHARE] = 0;
    mem[TRIMTAB_CLOCK] = spaces->len > SPACES ? clock_of(spaces->items[SPACES]) : 0;
    if (TRIMTAB_CORES > 1 && spaces->len > SPACES + 1) {
        mp_get_buffer_raise(spaces->items[SPACES + 1], &buffer, MP_BUFFER_RW);
        mem[TRIMTAB_OWN] = buffer.buf;
    }
    return bytes;
}

// Loading a package has checked what its records point at; here, only that they are records.
static mp_obj_t run(size_t count, const mp_obj_t *args) {
    uint8_t *mem[TRIMTAB_CLOCK + 1];
    size_t bytes = memory(mem, args[0]);
    int32_t value = 0, off = 0, i = 0, stop = 1;
    const int32_t *offsets = &off;
    int32_t *result = &value;
    if (count == 2) {
        off = mp_obj_get_int(args[1]);
    } else {
        mp_buffer_info_t list, cell;
        mp_get_buffer_raise(args[1], &list, MP_BUFFER_READ);
        mp_get_buffer_raise(args[4], &cell, MP_BUFFER_WRITE);
        offsets = list.buf;
        result = cell.buf;
        i = mp_obj_get_int(args[2]);
        stop = mp_obj_get_int(args[3]);
        if (count != 5 || !mem[TRIMTAB_CLOCK] || i < 0 || stop > (int32_t)(list.len / 4) || cell.len < 4) {
            i = stop = 0;
            *result = TRIMTAB_DECLINED;
        }
    }
    for (int32_t k = i; k < stop; k++) {
        uint32_t place = (uint32_t)offsets[k];
        if (bytes < 4 || place > bytes - 4 || ((uintptr_t)mem[TRIMTAB_PROGRAM] + place) % 4) {
            stop = i;
            *result = TRIMTAB_DECLINED;
        }
    }
    i = trimtab_run(mem, offsets, i, stop, BUDGET, result);
    if (*result == TRIMTAB_DECLINED) {
        mp_raise_ValueError(MP_ERROR_TEXT("these kernels are for another package: run `trimtab deploy`"));
    }
    return MP_OBJ_NEW_SMALL_INT(count == 2 ? value : i);
}

static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(run_obj, 2, 5, run);

#if TRIMTAB_CORES > 1

// What core 1 runs, as a thread, until it is sent away.
static mp_obj_t serve(mp_obj_t box) {
    mp_buffer_info_t buffer;
    mp_get_buffer_raise(box, &buffer, MP_BUFFER_RW);
    if (buffer.len < sizeof(struct box)) {
        mp_raise_ValueError(MP_ERROR_TEXT("the box is too small"));
    }
    trimtab_serve(buffer.buf, buffer.len);
    return mp_const_none;
}

static MP_DEFINE_CONST_FUN_OBJ_1(serve_obj, serve);

#endif

#if defined(MICROPY_ENABLE_DYNRUNTIME)

mp_obj_t mpy_init(mp_obj_fun_bc_t *self, size_t n_args, size_t n_kw, mp_obj_t *args) {
    MP_DYNRUNTIME_INIT_ENTRY
    mp_store_global(MP_QSTR_run, MP_OBJ_FROM_PTR(&run_obj));
    mp_store_global(MP_QSTR_OPCODES, mp_obj_new_bytes(trimtab_opcodes, TRIMTAB_LISTED));
    mp_store_global(MP_QSTR_ABI, MP_OBJ_NEW_SMALL_INT(TRIMTAB_ABI));
    #if TRIMTAB_CORES > 1
    mp_store_global(MP_QSTR_serve, MP_OBJ_FROM_PTR(&serve_obj));
    #endif
    MP_DYNRUNTIME_INIT_EXIT
}

#else

static const mp_obj_str_t opcodes_obj = { { &mp_type_bytes }, 0, TRIMTAB_LISTED, trimtab_opcodes };

static const mp_rom_map_elem_t globals_table[] = {
    { MP_ROM_QSTR(MP_QSTR___name__), MP_ROM_QSTR(MP_QSTR__kernels) },
    { MP_ROM_QSTR(MP_QSTR_ABI), MP_ROM_INT(TRIMTAB_ABI) },
    { MP_ROM_QSTR(MP_QSTR_run), MP_ROM_PTR(&run_obj) },
    { MP_ROM_QSTR(MP_QSTR_OPCODES), MP_ROM_PTR(&opcodes_obj) },
    #if TRIMTAB_CORES > 1
    { MP_ROM_QSTR(MP_QSTR_serve), MP_ROM_PTR(&serve_obj) },
    #endif
};
static MP_DEFINE_CONST_DICT(globals, globals_table);

const mp_obj_module_t trimtab_kernels_module = {
    .base = { &mp_type_module },
    .globals = (mp_obj_dict_t *)&globals,
};

MP_REGISTER_MODULE(MP_QSTR__kernels, trimtab_kernels_module);

#endif
