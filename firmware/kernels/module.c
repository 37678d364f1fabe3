// The Python module _kernels, as a native module or inside a firmware. The only file that knows MicroPython.
// Each kernel is a function (mem, off): mem a tuple of arena, state, const and steps, off a record in steps.
#include "kernels.h"

#if defined(MICROPY_ENABLE_DYNRUNTIME)
#include "py/dynruntime.h"
#else
#include "py/runtime.h"
#endif

// The one list of exports. The names stand in full because tools look for them in this text.
#define KERNELS(X) \
    X(conv_fwd, MP_QSTR_conv_fwd) \
    X(depthwise_fwd, MP_QSTR_depthwise_fwd) \
    X(add_fwd, MP_QSTR_add_fwd) \
    X(avg_pool_fwd, MP_QSTR_avg_pool_fwd) \
    X(max_pool_fwd, MP_QSTR_max_pool_fwd) \
    X(mean_fwd, MP_QSTR_mean_fwd) \
    X(lut_fwd, MP_QSTR_lut_fwd) \
    X(copy_fwd, MP_QSTR_copy_fwd) \
    X(gather, MP_QSTR_gather) \
    X(softmax_fwd, MP_QSTR_softmax_fwd) \
    X(requantize_fwd, MP_QSTR_requantize_fwd) \
    X(head_fwd, MP_QSTR_head_fwd) \
    X(softmax_loss, MP_QSTR_softmax_loss) \
    X(head_dx, MP_QSTR_head_dx) \
    X(head_dw, MP_QSTR_head_dw) \
    X(mse_loss, MP_QSTR_mse_loss) \
    X(mse_dx, MP_QSTR_mse_dx) \
    X(conv_dx, MP_QSTR_conv_dx) \
    X(depthwise_dx, MP_QSTR_depthwise_dx) \
    X(scale_dx, MP_QSTR_scale_dx) \
    X(avg_dx, MP_QSTR_avg_dx) \
    X(max_dx, MP_QSTR_max_dx) \
    X(lut_dx, MP_QSTR_lut_dx) \
    X(conv_dw, MP_QSTR_conv_dw) \
    X(depthwise_dw, MP_QSTR_depthwise_dw) \
    X(bias_dw, MP_QSTR_bias_dw) \
    X(fold_weights, MP_QSTR_fold_weights) \
    X(fold_bias, MP_QSTR_fold_bias) \
    X(fold_head, MP_QSTR_fold_head) \
    X(begin_step, MP_QSTR_begin_step) \
    X(end_step, MP_QSTR_end_step) \
    X(lite_conv_fwd, MP_QSTR_lite_conv_fwd) \
    X(lite_affine_fwd, MP_QSTR_lite_affine_fwd) \
    X(lite_add_fwd, MP_QSTR_lite_add_fwd) \
    X(lite_add_dx, MP_QSTR_lite_add_dx) \
    X(lite_conv_dx, MP_QSTR_lite_conv_dx) \
    X(lite_norm_dx, MP_QSTR_lite_norm_dx) \
    X(step_fwd, MP_QSTR_step_fwd) \
    X(open_mask, MP_QSTR_open_mask) \
    X(gain_fwd, MP_QSTR_gain_fwd) \
    X(gain_dw, MP_QSTR_gain_dw) \
    X(fisher, MP_QSTR_fisher) \
    X(hold, MP_QSTR_hold) \
    X(proto_fwd, MP_QSTR_proto_fwd) \
    X(proto_dx, MP_QSTR_proto_dx) \
    X(proto_add, MP_QSTR_proto_add)

typedef int32_t (*kernel_t)(uint8_t *const *mem, uint32_t off);

// The loader has checked what the record points at; here only that it is a record of this kernel.
static mp_obj_t call(mp_obj_t mem_in, mp_obj_t off_in, int32_t opcode, kernel_t kernel) {
    const mp_obj_tuple_t *spaces = MP_OBJ_TO_PTR(mem_in);
    if (mp_obj_get_type(mem_in) != mp_obj_get_type(mp_const_empty_tuple) || spaces->len != 5) {
        mp_raise_ValueError(MP_ERROR_TEXT("memory is a tuple of arena, state, const, steps and weights"));
    }
    uint8_t *mem[5];
    size_t length[5];
    mp_buffer_info_t buffer;
    for (size_t i = 0; i < 5; i++) {
        mp_get_buffer_raise(spaces->items[i], &buffer, MP_BUFFER_READ);
        mem[i] = buffer.buf;
        length[i] = buffer.len;
    }
    size_t off = (size_t)mp_obj_get_int(off_in), end = length[TRIMTAB_STEPS];
    const int32_t *record = (const int32_t *)(mem[TRIMTAB_STEPS] + off);
    if ((uintptr_t)record % 4 || end < 4 || off > end - 4 || *record != opcode) {
        mp_raise_ValueError(MP_ERROR_TEXT("no record of this kernel there: load the package again"));
    }
    return MP_OBJ_NEW_SMALL_INT(kernel(mem, off));
}

#define FUNCTION(name, qstr) \
    static mp_obj_t name(mp_obj_t mem, mp_obj_t off) { \
        return call(mem, off, TRIMTAB_OP_##name, trimtab_##name); \
    } \
    static MP_DEFINE_CONST_FUN_OBJ_2(name##_obj, name);
KERNELS(FUNCTION)

#if defined(MICROPY_ENABLE_DYNRUNTIME)

#define EXPORT(name, qstr) mp_store_global(qstr, MP_OBJ_FROM_PTR(&name##_obj));

mp_obj_t mpy_init(mp_obj_fun_bc_t *self, size_t n_args, size_t n_kw, mp_obj_t *args) {
    MP_DYNRUNTIME_INIT_ENTRY
    KERNELS(EXPORT)
    mp_store_global(MP_QSTR_ABI, MP_OBJ_NEW_SMALL_INT(TRIMTAB_ABI));
    MP_DYNRUNTIME_INIT_EXIT
}

#else

#define ROW(name, qstr) { MP_ROM_QSTR(qstr), MP_ROM_PTR(&name##_obj) },

static const mp_rom_map_elem_t globals_table[] = {
    { MP_ROM_QSTR(MP_QSTR___name__), MP_ROM_QSTR(MP_QSTR__kernels) },
    { MP_ROM_QSTR(MP_QSTR_ABI), MP_ROM_INT(TRIMTAB_ABI) },
    KERNELS(ROW)
};
static MP_DEFINE_CONST_DICT(globals, globals_table);

const mp_obj_module_t trimtab_kernels_module = {
    .base = { &mp_type_module },
    .globals = (mp_obj_dict_t *)&globals,
};

MP_REGISTER_MODULE(MP_QSTR__kernels, trimtab_kernels_module);

#endif
