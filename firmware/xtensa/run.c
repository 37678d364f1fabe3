// Runs a linked native module without MicroPython: calls on stdin, results on stdout.
// A call is five sizes and five memory spaces; a result is the value, arena and state.
#include <string.h>

#include "py/nativeglue.h"
#include "py/objfun.h"
#include "py/objtuple.h"

enum { SYS_EXIT = 118, SYS_READ = 12, SYS_WRITE = 13 };
int system(int number, int a, void *b, int c);

typedef mp_obj_t (*entry_t)(mp_obj_fun_bc_t *self, size_t n_args, size_t n_kw, mp_obj_t *args);
extern const entry_t module_entry; // where load.py put the module

#define SPACES 5
#define ROOM (1 << 22)

static mp_obj_t stored[3]; // what the module exports, in its order: first run()
static size_t count;

typedef struct {
    uint32_t size;
    uint8_t *data;
} space_t;

static void store_global(qstr name, mp_obj_t value) {
    stored[count++] = value;
}

static mp_obj_t load_global(qstr name) {
    return MP_OBJ_NULL;
}

static mp_obj_dict_t *swap_globals(mp_obj_dict_t *globals) {
    return globals;
}

static mp_obj_t new_tuple(size_t n, const mp_obj_t *items) {
    return MP_OBJ_NULL;
}

static mp_obj_t new_bytes(const byte *data, size_t n) {
    return MP_OBJ_NULL;
}

static const mp_obj_type_t *obj_get_type(mp_const_obj_t o) {
    return NULL; // all are of one type
}

static bool get_buffer(mp_obj_t o, mp_buffer_info_t *buffer, mp_uint_t flags) {
    const space_t *space = o;
    buffer->buf = space->data;
    buffer->len = space->size;
    return true;
}

static mp_uint_t native_from_obj(mp_obj_t o, mp_uint_t type) {
    return (mp_uint_t)MP_OBJ_SMALL_INT_VALUE(o);
}

static NORETURN void raise_msg(const mp_obj_type_t *type, mp_rom_error_text_t message) {
    system(SYS_WRITE, 2, (void *)message, strlen(message));
    for (;;) {
        system(SYS_EXIT, 3, NULL, 0);
    }
}

// At an address that load.py knows.
__attribute__((section(".functions"))) mp_fun_table_t functions = {
    .store_global = store_global, .load_global = load_global, .swap_globals = swap_globals,
    .new_tuple = new_tuple, .obj_new_bytes = new_bytes, .obj_get_type = obj_get_type, .get_buffer = get_buffer,
    .native_from_obj = native_from_obj, .raise_msg = raise_msg,
};

void *memcpy(void *restrict to, const void *restrict from, size_t n) {
    for (size_t i = 0; i < n; i++) {
        ((volatile uint8_t *)to)[i] = ((const uint8_t *)from)[i];
    }
    return to;
}

void *memset(void *to, int value, size_t n) {
    for (size_t i = 0; i < n; i++) {
        ((volatile uint8_t *)to)[i] = (uint8_t)value;
    }
    return to;
}

size_t strlen(const char *s) {
    size_t n = 0;
    while (s[n]) {
        n++;
    }
    return n;
}

static uint8_t input[ROOM], memory[ROOM];

static uint8_t *take(uint8_t *from, void *to, size_t n) {
    memcpy(to, from, n);
    return from + n;
}

void run(void) {
    static mp_module_context_t context;
    static mp_obj_fun_bc_t self = { .context = &context };
    module_entry(&self, 0, 0, NULL);
    uint8_t *end = input, *next = input;
    for (int n = 1; n > 0; end += n) {
        n = system(SYS_READ, 0, end, input + ROOM - end);
    }
    while (next < end) {
        space_t spaces[SPACES];
        mp_obj_t room[sizeof(mp_obj_tuple_t) / sizeof(mp_obj_t) + SPACES];
        mp_obj_tuple_t *mem = (void *)room;
        mem->len = SPACES;
        for (int i = 0; i < SPACES; i++) {
            next = take(next, &spaces[i].size, 4);
        }
        uint8_t *free = memory;
        for (int i = 0; i < SPACES; i++) {
            next = take(next, spaces[i].data = free, spaces[i].size);
            free += (spaces[i].size + 3) & ~3u;
            mem->items[i] = &spaces[i];
        }
        const mp_obj_fun_builtin_var_t *run_kernel = stored[0];
        const mp_obj_t arguments[] = { mem, MP_OBJ_NEW_SMALL_INT(0) };
        int32_t value = MP_OBJ_SMALL_INT_VALUE(run_kernel->fun.var(2, arguments));
        system(SYS_WRITE, 1, &value, 4);
        system(SYS_WRITE, 1, spaces[0].data, spaces[0].size);
        system(SYS_WRITE, 1, spaces[1].data, spaces[1].size);
    }
    system(SYS_EXIT, 0, NULL, 0);
}
