// The records of format.py as C, written by `python -m trimtab_tools.toolchain.records_header`.
#ifndef TRIMTAB_RECORDS_H
#define TRIMTAB_RECORDS_H

#include <stdint.h>

#define TRIMTAB_ABI 2
#define TRIMTAB_SPACE_SHIFT 28

enum trimtab_space { TRIMTAB_ARENA, TRIMTAB_STATE, TRIMTAB_CONST, TRIMTAB_PROGRAM, TRIMTAB_WEIGHTS };

enum trimtab_opcode {
    TRIMTAB_OP_conv_fwd,
    TRIMTAB_OP_depthwise_fwd,
    TRIMTAB_OP_add_fwd,
    TRIMTAB_OP_avg_pool_fwd,
    TRIMTAB_OP_max_pool_fwd,
    TRIMTAB_OP_mean_fwd,
    TRIMTAB_OP_lut_fwd,
    TRIMTAB_OP_copy_fwd,
    TRIMTAB_OP_gather,
    TRIMTAB_OP_softmax_fwd,
    TRIMTAB_OP_requantize_fwd,
    TRIMTAB_OP_head_fwd,
    TRIMTAB_OP_softmax_loss,
    TRIMTAB_OP_head_dx,
    TRIMTAB_OP_head_dw,
    TRIMTAB_OP_mse_loss,
    TRIMTAB_OP_mse_dx,
    TRIMTAB_OP_conv_dx,
    TRIMTAB_OP_depthwise_dx,
    TRIMTAB_OP_scale_dx,
    TRIMTAB_OP_avg_dx,
    TRIMTAB_OP_max_dx,
    TRIMTAB_OP_lut_dx,
    TRIMTAB_OP_conv_dw,
    TRIMTAB_OP_depthwise_dw,
    TRIMTAB_OP_bias_dw,
    TRIMTAB_OP_fold_weights,
    TRIMTAB_OP_fold_bias,
    TRIMTAB_OP_fold_head,
    TRIMTAB_OP_begin_step,
    TRIMTAB_OP_end_step,
    TRIMTAB_OP_tinytl_conv_fwd,
    TRIMTAB_OP_tinytl_affine_fwd,
    TRIMTAB_OP_tinytl_add_fwd,
    TRIMTAB_OP_tinytl_add_dx,
    TRIMTAB_OP_tinytl_conv_dx,
    TRIMTAB_OP_tinytl_norm_dx,
    TRIMTAB_OP_mobiletl_fwd,
    TRIMTAB_OP_mobiletl_mask,
    TRIMTAB_OP_mobiletl_gain,
    TRIMTAB_OP_mobiletl_gain_dw,
    TRIMTAB_OP_tinytrain_fisher,
    TRIMTAB_OP_tinytrain_hold,
    TRIMTAB_OP_prototype_fwd,
    TRIMTAB_OP_prototype_dx,
    TRIMTAB_OP_prototype_add,
    TRIMTAB_OP_mul_fwd,
    TRIMTAB_OP_sum_fwd,
    TRIMTAB_OP_mul_dx,
    TRIMTAB_OP_prelu_fwd,
    TRIMTAB_OP_prelu_dx,
    TRIMTAB_OP_move_fwd,
    TRIMTAB_OP_move_dx
};

struct trimtab_geometry {
    int32_t ih;
    int32_t iw;
    int32_t ic;
    int32_t oh;
    int32_t ow;
    int32_t oc;
    int32_t kh;
    int32_t kw;
    int32_t sh;
    int32_t sw;
    int32_t pt;
    int32_t pl;
};

struct trimtab_weights {
    int32_t w; // int8, or NULL
    int32_t k; // int8, or NULL
    int32_t kept; // uint16, or NULL
};

struct trimtab_update {
    int32_t k; // int8, written
    int32_t r; // residuals, written, or NULL
    int32_t acc; // int16, written, or NULL
    int32_t u; // int16
    int32_t lr; // int32
    int32_t rng; // int32, written, or NULL
    int32_t residual;
    int32_t pre;
};

struct trimtab_error_out {
    int32_t g; // int8, written
    int32_t mask; // bits, or NULL
    int32_t add; // int8, or NULL
    int32_t add_exp; // int32, or NULL
    int32_t add_mul;
    int32_t add_shift;
    int32_t exp; // int32, written
    int32_t track; // int16, written
    int32_t head_exp; // int32
};

struct trimtab_conv_fwd {
    int32_t opcode;
    int32_t y; // int8 (oh, ow, oc), written
    int32_t x; // int8 (ih, iw, ic)
    struct trimtab_weights weights;
    int32_t bias; // int32 (oc)
    int32_t mult; // int32 (oc)
    int32_t shift; // int8 (oc)
    int32_t mask; // bits (oh, ow, oc), written, or NULL
    struct trimtab_geometry geometry;
    int32_t nk;
    int32_t zx;
    int32_t zy;
    int32_t lo;
    int32_t hi;
    int32_t once;
    int32_t scratch; // int32 (words), written, or NULL
    int32_t words;
};

struct trimtab_depthwise_fwd {
    int32_t opcode;
    int32_t y; // int8 (oh, ow, oc), written
    int32_t x; // int8 (ih, iw, ic)
    struct trimtab_weights weights;
    int32_t bias; // int32 (oc)
    int32_t mult; // int32 (oc)
    int32_t shift; // int8 (oc)
    int32_t mask; // bits (oh, ow, oc), written, or NULL
    int32_t plane; // int8 (ih, iw), written, or NULL
    struct trimtab_geometry geometry;
    int32_t nk;
    int32_t zx;
    int32_t zy;
    int32_t lo;
    int32_t hi;
    int32_t scratch; // int32 (words), written, or NULL
    int32_t words;
};

struct trimtab_add_fwd {
    int32_t opcode;
    int32_t y; // int8 (n), written
    int32_t x; // int8 (n)
    int32_t x2; // int8 (n)
    int32_t mask; // bits (n), written, or NULL
    int32_t n;
    int32_t zx;
    int32_t zx2;
    int32_t zy;
    int32_t mult;
    int32_t shift;
    int32_t mult2;
    int32_t shift2;
    int32_t mult_y;
    int32_t shift_y;
    int32_t lo;
    int32_t hi;
};

struct trimtab_avg_pool_fwd {
    int32_t opcode;
    int32_t y; // int8 (oh, ow, ic), written
    int32_t x; // int8 (ih, iw, ic)
    struct trimtab_geometry geometry;
    int32_t lo;
    int32_t hi;
};

struct trimtab_max_pool_fwd {
    int32_t opcode;
    int32_t y; // int8 (oh, ow, ic), written
    int32_t x; // int8 (ih, iw, ic)
    struct trimtab_geometry geometry;
    int32_t lo;
    int32_t hi;
};

struct trimtab_mean_fwd {
    int32_t opcode;
    int32_t y; // int8 (ic), written
    int32_t x; // int8 (n, ic)
    int32_t mask; // bits (ic), written, or NULL
    int32_t n;
    int32_t ic;
    int32_t zx;
    int32_t zy;
    int32_t mult;
    int32_t shift;
};

struct trimtab_lut_fwd {
    int32_t opcode;
    int32_t y; // int8 (n), written
    int32_t x; // int8 (n)
    int32_t table; // int8 (256)
    int32_t n;
};

struct trimtab_copy_fwd {
    int32_t opcode;
    int32_t y; // int8 (yh, yw, yc), written
    int32_t x; // int8 (ih, iw, ic)
    int32_t ih;
    int32_t iw;
    int32_t ic;
    int32_t yh;
    int32_t yw;
    int32_t yc;
    int32_t top;
    int32_t left;
    int32_t first;
    int32_t fill;
};

struct trimtab_gather {
    int32_t opcode;
    int32_t y; // int8 (n, nk), written
    int32_t x; // int8 (n, ic)
    int32_t kept; // uint16 (nk), below ic
    int32_t n;
    int32_t ic;
    int32_t nk;
};

struct trimtab_softmax_fwd {
    int32_t opcode;
    int32_t y; // int8 (rows, n), written
    int32_t x; // int8 (rows, n)
    int32_t table; // int32 (256)
    int32_t rows;
    int32_t n;
};

struct trimtab_requantize_fwd {
    int32_t opcode;
    int32_t y; // int8 (n), written
    int32_t x; // int8 (n)
    int32_t mask; // bits (n), written, or NULL
    int32_t n;
    int32_t zx;
    int32_t zy;
    int32_t mult;
    int32_t shift;
};

struct trimtab_head_fwd {
    int32_t opcode;
    int32_t logits; // int32 (n), written
    int32_t x; // int8 (f)
    int32_t w; // int16 (n, f)
    int32_t bias; // int32 (n)
    int32_t n;
    int32_t f;
    int32_t zx;
    int32_t bias_mul;
    int32_t bias_shift;
};

struct trimtab_softmax_loss {
    int32_t opcode;
    int32_t logits; // int32 (n), written
    int32_t label; // int32 (1)
    int32_t exp_table; // int16 (256)
    int32_t ln_table; // int16 (128)
    int32_t n;
    int32_t pre;
    int32_t mul;
    int32_t shift;
};

struct trimtab_head_dx {
    int32_t opcode;
    int32_t g; // int8 (f), written
    int32_t err; // int32 (n)
    int32_t w; // int16 (n, f)
    int32_t sums; // int32 (f), written
    int32_t mask; // bits (f), or NULL
    int32_t exp; // int32 (1), written
    int32_t head_exp; // int32 (1), written
    int32_t n;
    int32_t f;
    int32_t scale;
    int32_t scale_exp;
};

struct trimtab_head_dw {
    int32_t opcode;
    int32_t w; // int16 (n, f), written
    int32_t bias; // int32 (n), written
    int32_t acc; // int16 (n, f), written, or NULL
    int32_t acc_bias; // int32 (n), written, or NULL
    int32_t err; // int32 (n)
    int32_t x; // int8 (f)
    int32_t lr; // int32 (2)
    int32_t n;
    int32_t f;
    int32_t zx;
    int32_t limit;
    int32_t u;
    int32_t u_shift;
};

struct trimtab_mse_loss {
    int32_t opcode;
    int32_t y; // int8 (n)
    int32_t target; // int8 (n)
    int32_t n;
};

struct trimtab_mse_dx {
    int32_t opcode;
    int32_t g; // int8 (n), written
    int32_t y; // int8 (n)
    int32_t target; // int8 (n)
    int32_t mask; // bits (n), or NULL
    int32_t exp; // int32 (1), written
    int32_t head_exp; // int32 (1), written
    int32_t n;
    int32_t scale_exp;
};

struct trimtab_conv_dx {
    int32_t opcode;
    int32_t gy; // int8 (oh, ow, oc)
    struct trimtab_weights weights;
    int32_t m; // int16 (oc)
    int32_t row; // int32 (ic), written
    int32_t gy_exp; // int32 (1)
    struct trimtab_geometry geometry;
    int32_t nk;
    int32_t m_shift;
    int32_t m_exp;
    struct trimtab_error_out error_out;
    int32_t scratch; // int32 (words), written, or NULL
    int32_t words;
};

struct trimtab_depthwise_dx {
    int32_t opcode;
    int32_t gy; // int8 (oh, ow, oc)
    struct trimtab_weights weights;
    int32_t m; // int16 (oc)
    int32_t plane; // int8 (oh, ow), written, or NULL
    int32_t gy_exp; // int32 (1)
    struct trimtab_geometry geometry;
    int32_t nk;
    int32_t m_shift;
    int32_t m_exp;
    struct trimtab_error_out error_out;
    int32_t scratch; // int32 (words), written, or NULL
    int32_t words;
};

struct trimtab_scale_dx {
    int32_t opcode;
    int32_t gy; // int8 (yh, yw, yc)
    int32_t gy_exp; // int32 (1)
    int32_t row; // int32 (ic), written
    int32_t ih;
    int32_t iw;
    int32_t ic;
    int32_t yh;
    int32_t yw;
    int32_t yc;
    int32_t top;
    int32_t left;
    int32_t first;
    int32_t m;
    int32_t m_exp;
    struct trimtab_error_out error_out;
};

struct trimtab_avg_dx {
    int32_t opcode;
    int32_t gy; // int8 (oh, ow, ic)
    int32_t m; // int16 (kh, kw)
    int32_t row; // int32 (ic), written
    int32_t gy_exp; // int32 (1)
    struct trimtab_geometry geometry;
    int32_t m_exp;
    struct trimtab_error_out error_out;
};

struct trimtab_max_dx {
    int32_t opcode;
    int32_t gy; // int8 (oh, ow, ic)
    int32_t x; // int8 (ih, iw, ic)
    int32_t row; // int32 (ic), written
    int32_t gy_exp; // int32 (1)
    struct trimtab_geometry geometry;
    struct trimtab_error_out error_out;
};

struct trimtab_lut_dx {
    int32_t opcode;
    int32_t gy; // int8 (ih, iw, ic)
    int32_t x; // int8 (ih, iw, ic)
    int32_t slope; // int16 (256)
    int32_t row; // int32 (ic), written
    int32_t gy_exp; // int32 (1)
    int32_t ih;
    int32_t iw;
    int32_t ic;
    int32_t m_exp;
    struct trimtab_error_out error_out;
};

struct trimtab_conv_dw {
    int32_t opcode;
    int32_t gy; // int8 (oh, ow, oc)
    int32_t x; // int8 (ih, iw, ic)
    int32_t kept; // uint16 (nk), below ic, or NULL
    int32_t gy_exp; // int32 (1)
    struct trimtab_update update;
    struct trimtab_geometry geometry;
    int32_t nk;
    int32_t zx;
    int32_t scratch; // int32 (words), written, or NULL
    int32_t words;
};

struct trimtab_depthwise_dw {
    int32_t opcode;
    int32_t gy; // int8 (oh, ow, oc)
    int32_t x; // int8 (ih, iw, ic)
    int32_t kept; // uint16 (nk), below oc, or NULL
    int32_t gy_exp; // int32 (1)
    struct trimtab_update update;
    struct trimtab_geometry geometry;
    int32_t nk;
    int32_t zx;
    int32_t scratch; // int32 (words), written, or NULL
    int32_t words;
};

struct trimtab_bias_dw {
    int32_t opcode;
    int32_t gy; // int8 (n, oc)
    int32_t gy_exp; // int32 (1)
    int32_t bias; // int32 (oc), written
    int32_t acc; // int32 (oc), written, or NULL
    int32_t u; // int16 (oc)
    int32_t lr; // int32 (2)
    int32_t n;
    int32_t oc;
};

struct trimtab_fold_weights {
    int32_t opcode;
    int32_t k; // int8 (n), written
    int32_t r; // residuals (n), written, or NULL
    int32_t acc; // int16 (n), written
    int32_t n;
    int32_t residual;
    int32_t keep;
};

struct trimtab_fold_bias {
    int32_t opcode;
    int32_t bias; // int32 (n), written
    int32_t acc; // int32 (n), written
    int32_t n;
    int32_t keep;
};

struct trimtab_fold_head {
    int32_t opcode;
    int32_t w; // int16 (n, f), written
    int32_t bias; // int32 (n), written
    int32_t acc; // int16 (n, f), written
    int32_t acc_bias; // int32 (n), written
    int32_t n;
    int32_t f;
    int32_t limit;
    int32_t keep;
};

struct trimtab_begin_step {
    int32_t opcode;
    int32_t lr; // int32 (2), written
    int32_t clock; // int32 (2)
    int32_t cosine; // int16 (64)
    int32_t rate;
    int32_t rate_shift;
};

struct trimtab_end_step {
    int32_t opcode;
    int32_t clock; // int32 (2), written
};

struct trimtab_tinytl_conv_fwd {
    int32_t opcode;
    int32_t y; // int8 (oh, ow, oc), written
    int32_t x; // int8 (ih, iw, ic)
    int32_t w; // int8 (oc, kh, kw, part)
    int32_t sums; // int32 (oh, ow, norm), written
    int32_t stats; // int32 (norms), written
    struct trimtab_geometry geometry;
    int32_t part;
    int32_t norm;
    int32_t norms;
    int32_t zx;
    int32_t pre;
};

struct trimtab_tinytl_affine_fwd {
    int32_t opcode;
    int32_t y; // int8 (n, oc), written
    int32_t x; // int8 (n, oc)
    int32_t affine; // int32 (2, oc)
    int32_t n;
    int32_t oc;
    int32_t bound;
};

struct trimtab_tinytl_add_fwd {
    int32_t opcode;
    int32_t y; // int8 (oh, ow, oc), written
    int32_t x; // int8 (oh, ow, oc)
    int32_t x2; // int8 (ih, iw, oc)
    int32_t affine; // int32 (2, oc)
    int32_t mask; // bits (oh, ow, oc), written, or NULL
    int32_t ih;
    int32_t iw;
    int32_t oh;
    int32_t ow;
    int32_t oc;
    int32_t bound;
    int32_t lo;
    int32_t hi;
};

struct trimtab_tinytl_add_dx {
    int32_t opcode;
    int32_t d; // int32 (ih, iw, oc), written
    int32_t gy; // int8 (oh, ow, oc)
    int32_t ih;
    int32_t iw;
    int32_t oh;
    int32_t ow;
    int32_t oc;
};

struct trimtab_tinytl_conv_dx {
    int32_t opcode;
    int32_t d; // int32 (n, ic), written
    int32_t gy; // int8 (n, oc)
    int32_t w; // int8 (oc, ic)
    int32_t n;
    int32_t ic;
    int32_t oc;
};

struct trimtab_tinytl_norm_dx {
    int32_t opcode;
    int32_t g; // int8 (n, oc), written
    int32_t exp; // int32 (1), written
    int32_t sums; // int32 (n, oc), written
    int32_t x; // int8 (n, oc)
    int32_t stats; // int32 (norms)
    int32_t affine; // int32 (2, oc), written
    int32_t acc; // int32 (2, oc), written, or NULL
    int32_t gy_exp; // int32 (1)
    int32_t lr; // int32 (2)
    int32_t n;
    int32_t oc;
    int32_t norm;
    int32_t norms;
    int32_t parts;
    int32_t relu;
    int32_t bound;
    int32_t m_exp;
    int32_t u_gamma;
    int32_t u_beta;
    int32_t pre;
};

struct trimtab_mobiletl_fwd {
    int32_t opcode;
    int32_t y; // int8 (n), written
    int32_t x; // int8 (n)
    int32_t table; // int8 (256)
    int32_t mask; // bits (n), written
    int32_t n;
    int32_t zx;
};

struct trimtab_mobiletl_mask {
    int32_t opcode;
    int32_t mask; // bits (n), written
    int32_t y; // int8 (n)
    int32_t n;
    int32_t hi;
};

struct trimtab_mobiletl_gain {
    int32_t opcode;
    int32_t mult_out; // int32 (oc), written
    int32_t shift_out; // int8 (oc), written
    int32_t m_out; // int16 (oc), written
    int32_t mult; // int32 (oc)
    int32_t shift; // int8 (oc)
    int32_t m; // int16 (oc)
    int32_t gain; // int32 (oc)
    int32_t oc;
};

struct trimtab_mobiletl_gain_dw {
    int32_t opcode;
    int32_t gy; // int8 (n, oc)
    int32_t y; // int8 (n, oc)
    int32_t gy_exp; // int32 (1)
    int32_t gain; // int32 (oc), written
    int32_t acc; // int32 (oc), written, or NULL
    int32_t u; // int16 (oc)
    int32_t lr; // int32 (2)
    int32_t pre;
    int32_t n;
    int32_t oc;
    int32_t zy;
};

struct trimtab_tinytrain_fisher {
    int32_t opcode;
    int32_t f; // int32 (ic), written
    int32_t f_exp; // int32 (1), written
    int32_t x; // int8 (n, ic)
    int32_t g; // int8 (n, ic)
    int32_t g_exp; // int32 (1)
    int32_t sums; // int32 (ic), written
    int32_t n;
    int32_t ic;
    int32_t zx;
};

struct trimtab_tinytrain_hold {
    int32_t opcode;
    int32_t k; // int8 (rows, nk), written
    int32_t r; // residuals (rows, nk), written, or NULL
    int32_t w; // int8 (rows, ic)
    int32_t kept; // uint16 (nk), below ic
    int32_t rows;
    int32_t nk;
    int32_t ic;
    int32_t residual;
};

struct trimtab_prototype_fwd {
    int32_t opcode;
    int32_t logits; // int32 (n), written
    int32_t x; // int8 (f)
    int32_t protos; // int16 (n, f)
    int32_t counts; // int32 (n)
    int32_t unit; // int16 (f), written
    int32_t norm; // int32 (2), written
    int32_t n;
    int32_t f;
    int32_t zx;
};

struct trimtab_prototype_dx {
    int32_t opcode;
    int32_t g; // int8 (f), written
    int32_t err; // int32 (n)
    int32_t protos; // int16 (n, f)
    int32_t unit; // int16 (f)
    int32_t norm; // int32 (2)
    int32_t sums; // int32 (f), written
    int32_t mask; // bits (f), or NULL
    int32_t exp; // int32 (1), written
    int32_t head_exp; // int32 (1), written
    int32_t n;
    int32_t f;
    int32_t scale;
    int32_t scale_exp;
};

struct trimtab_prototype_add {
    int32_t opcode;
    int32_t protos; // int16 (n, f), written
    int32_t totals; // int32 (n, f), written
    int32_t counts; // int32 (n), written
    int32_t label; // int32 (1)
    int32_t unit; // int16 (f)
    int32_t n;
    int32_t f;
    int32_t window;
};

struct trimtab_mul_fwd {
    int32_t opcode;
    int32_t y; // int8 (n, c), written
    int32_t x; // int8 (n, c)
    int32_t x2; // int8 (n2, c2)
    int32_t mask; // bits (n, c), written, or NULL
    int32_t n;
    int32_t c;
    int32_t n2;
    int32_t c2;
    int32_t zx2;
    int32_t zx;
    int32_t zy;
    int32_t mult;
    int32_t shift;
    int32_t lo;
    int32_t hi;
};

struct trimtab_sum_fwd {
    int32_t opcode;
    int32_t y; // int8 (n, c), written
    int32_t x; // int8 (n, c)
    int32_t x2; // int8 (n2, c2)
    int32_t mask; // bits (n, c), written, or NULL
    int32_t n;
    int32_t c;
    int32_t n2;
    int32_t c2;
    int32_t zx2;
    int32_t zx;
    int32_t zy;
    int32_t mult;
    int32_t shift;
    int32_t mult2;
    int32_t shift2;
    int32_t mult_y;
    int32_t shift_y;
    int32_t sign;
    int32_t sign2;
    int32_t lo;
    int32_t hi;
};

struct trimtab_mul_dx {
    int32_t opcode;
    int32_t gy; // int8 (n, c)
    int32_t row; // int32 (ic), written
    int32_t x2; // int8 (n2, c2)
    int32_t gy_exp; // int32 (1)
    int32_t n;
    int32_t c;
    int32_t n2;
    int32_t c2;
    int32_t zx2;
    int32_t m;
    int32_t m_shift;
    int32_t m_exp;
    int32_t ih;
    int32_t iw;
    int32_t ic;
    int32_t gn;
    struct trimtab_error_out error_out;
};

struct trimtab_prelu_fwd {
    int32_t opcode;
    int32_t y; // int8 (n, c), written
    int32_t x; // int8 (n, c)
    int32_t x2; // int8 (n2, c2)
    int32_t mask; // bits (n, c), written, or NULL
    int32_t n;
    int32_t c;
    int32_t n2;
    int32_t c2;
    int32_t zx2;
    int32_t zx;
    int32_t zy;
    int32_t mult;
    int32_t shift;
    int32_t mult2;
    int32_t shift2;
    int32_t lo;
    int32_t hi;
};

struct trimtab_prelu_dx {
    int32_t opcode;
    int32_t gy; // int8 (ih, iw, ic)
    int32_t row; // int32 (ic), written
    int32_t x; // int8 (ih, iw, ic)
    int32_t gy_exp; // int32 (1)
    int32_t slope; // int16 (n2, c2)
    int32_t ih;
    int32_t iw;
    int32_t ic;
    int32_t n2;
    int32_t c2;
    int32_t zx;
    int32_t m;
    int32_t m_exp;
    struct trimtab_error_out error_out;
};

struct trimtab_move_fwd {
    int32_t opcode;
    int32_t y; // int8 (n0, n1, n2, n3), written
    int32_t x; // int8 (size)
    int32_t n0;
    int32_t n1;
    int32_t n2;
    int32_t n3;
    int32_t s0;
    int32_t s1;
    int32_t s2;
    int32_t s3;
    int32_t size;
};

struct trimtab_move_dx {
    int32_t opcode;
    int32_t gy; // int8 (size)
    int32_t row; // int32 (ic), written
    int32_t gy_exp; // int32 (1)
    int32_t n0;
    int32_t n1;
    int32_t ih;
    int32_t iw;
    int32_t ic;
    int32_t f0;
    int32_t f1;
    int32_t f2;
    int32_t f3;
    int32_t c0;
    int32_t c1;
    int32_t c2;
    int32_t c3;
    int32_t s0;
    int32_t s1;
    int32_t s2;
    int32_t s3;
    int32_t size;
    struct trimtab_error_out error_out;
};

int32_t trimtab_conv_fwd(uint8_t *const *mem, uint32_t off);
int32_t trimtab_depthwise_fwd(uint8_t *const *mem, uint32_t off);
int32_t trimtab_add_fwd(uint8_t *const *mem, uint32_t off);
int32_t trimtab_avg_pool_fwd(uint8_t *const *mem, uint32_t off);
int32_t trimtab_max_pool_fwd(uint8_t *const *mem, uint32_t off);
int32_t trimtab_mean_fwd(uint8_t *const *mem, uint32_t off);
int32_t trimtab_lut_fwd(uint8_t *const *mem, uint32_t off);
int32_t trimtab_copy_fwd(uint8_t *const *mem, uint32_t off);
int32_t trimtab_gather(uint8_t *const *mem, uint32_t off);
int32_t trimtab_softmax_fwd(uint8_t *const *mem, uint32_t off);
int32_t trimtab_requantize_fwd(uint8_t *const *mem, uint32_t off);
int32_t trimtab_head_fwd(uint8_t *const *mem, uint32_t off);
int32_t trimtab_softmax_loss(uint8_t *const *mem, uint32_t off);
int32_t trimtab_head_dx(uint8_t *const *mem, uint32_t off);
int32_t trimtab_head_dw(uint8_t *const *mem, uint32_t off);
int32_t trimtab_mse_loss(uint8_t *const *mem, uint32_t off);
int32_t trimtab_mse_dx(uint8_t *const *mem, uint32_t off);
int32_t trimtab_conv_dx(uint8_t *const *mem, uint32_t off);
int32_t trimtab_depthwise_dx(uint8_t *const *mem, uint32_t off);
int32_t trimtab_scale_dx(uint8_t *const *mem, uint32_t off);
int32_t trimtab_avg_dx(uint8_t *const *mem, uint32_t off);
int32_t trimtab_max_dx(uint8_t *const *mem, uint32_t off);
int32_t trimtab_lut_dx(uint8_t *const *mem, uint32_t off);
int32_t trimtab_conv_dw(uint8_t *const *mem, uint32_t off);
int32_t trimtab_depthwise_dw(uint8_t *const *mem, uint32_t off);
int32_t trimtab_bias_dw(uint8_t *const *mem, uint32_t off);
int32_t trimtab_fold_weights(uint8_t *const *mem, uint32_t off);
int32_t trimtab_fold_bias(uint8_t *const *mem, uint32_t off);
int32_t trimtab_fold_head(uint8_t *const *mem, uint32_t off);
int32_t trimtab_begin_step(uint8_t *const *mem, uint32_t off);
int32_t trimtab_end_step(uint8_t *const *mem, uint32_t off);
int32_t trimtab_tinytl_conv_fwd(uint8_t *const *mem, uint32_t off);
int32_t trimtab_tinytl_affine_fwd(uint8_t *const *mem, uint32_t off);
int32_t trimtab_tinytl_add_fwd(uint8_t *const *mem, uint32_t off);
int32_t trimtab_tinytl_add_dx(uint8_t *const *mem, uint32_t off);
int32_t trimtab_tinytl_conv_dx(uint8_t *const *mem, uint32_t off);
int32_t trimtab_tinytl_norm_dx(uint8_t *const *mem, uint32_t off);
int32_t trimtab_mobiletl_fwd(uint8_t *const *mem, uint32_t off);
int32_t trimtab_mobiletl_mask(uint8_t *const *mem, uint32_t off);
int32_t trimtab_mobiletl_gain(uint8_t *const *mem, uint32_t off);
int32_t trimtab_mobiletl_gain_dw(uint8_t *const *mem, uint32_t off);
int32_t trimtab_tinytrain_fisher(uint8_t *const *mem, uint32_t off);
int32_t trimtab_tinytrain_hold(uint8_t *const *mem, uint32_t off);
int32_t trimtab_prototype_fwd(uint8_t *const *mem, uint32_t off);
int32_t trimtab_prototype_dx(uint8_t *const *mem, uint32_t off);
int32_t trimtab_prototype_add(uint8_t *const *mem, uint32_t off);
int32_t trimtab_mul_fwd(uint8_t *const *mem, uint32_t off);
int32_t trimtab_sum_fwd(uint8_t *const *mem, uint32_t off);
int32_t trimtab_mul_dx(uint8_t *const *mem, uint32_t off);
int32_t trimtab_prelu_fwd(uint8_t *const *mem, uint32_t off);
int32_t trimtab_prelu_dx(uint8_t *const *mem, uint32_t off);
int32_t trimtab_move_fwd(uint8_t *const *mem, uint32_t off);
int32_t trimtab_move_dx(uint8_t *const *mem, uint32_t off);

// What a module has: all kernels, or those that one package calls. A method whose file is absent has none.
#define TRIMTAB_CORE_KERNELS(X) \
    X(conv_fwd) \
    X(depthwise_fwd) \
    X(add_fwd) \
    X(avg_pool_fwd) \
    X(max_pool_fwd) \
    X(mean_fwd) \
    X(lut_fwd) \
    X(copy_fwd) \
    X(gather) \
    X(softmax_fwd) \
    X(requantize_fwd) \
    X(head_fwd) \
    X(softmax_loss) \
    X(head_dx) \
    X(head_dw) \
    X(mse_loss) \
    X(mse_dx) \
    X(conv_dx) \
    X(depthwise_dx) \
    X(scale_dx) \
    X(avg_dx) \
    X(max_dx) \
    X(lut_dx) \
    X(conv_dw) \
    X(depthwise_dw) \
    X(bias_dw) \
    X(fold_weights) \
    X(fold_bias) \
    X(fold_head) \
    X(begin_step) \
    X(end_step) \

#if __has_include("tinytl.c")
#define TRIMTAB_TINYTL_KERNELS(X) \
    X(tinytl_conv_fwd) \
    X(tinytl_affine_fwd) \
    X(tinytl_add_fwd) \
    X(tinytl_add_dx) \
    X(tinytl_conv_dx) \
    X(tinytl_norm_dx) \

#else
#define TRIMTAB_TINYTL_KERNELS(X)
#endif

#if __has_include("mobiletl.c")
#define TRIMTAB_MOBILETL_KERNELS(X) \
    X(mobiletl_fwd) \
    X(mobiletl_mask) \
    X(mobiletl_gain) \
    X(mobiletl_gain_dw) \

#else
#define TRIMTAB_MOBILETL_KERNELS(X)
#endif

#if __has_include("tinytrain.c")
#define TRIMTAB_TINYTRAIN_KERNELS(X) \
    X(tinytrain_fisher) \
    X(tinytrain_hold) \

#else
#define TRIMTAB_TINYTRAIN_KERNELS(X)
#endif

#if __has_include("prototypes.c")
#define TRIMTAB_PROTOTYPE_KERNELS(X) \
    X(prototype_fwd) \
    X(prototype_dx) \
    X(prototype_add) \

#else
#define TRIMTAB_PROTOTYPE_KERNELS(X)
#endif

#define TRIMTAB_LATER_KERNELS(X) \
    X(mul_fwd) \
    X(sum_fwd) \
    X(mul_dx) \
    X(prelu_fwd) \
    X(prelu_dx) \
    X(move_fwd) \
    X(move_dx) \

#define TRIMTAB_KERNELS(X) \
    TRIMTAB_CORE_KERNELS(X) \
    TRIMTAB_TINYTL_KERNELS(X) \
    TRIMTAB_MOBILETL_KERNELS(X) \
    TRIMTAB_TINYTRAIN_KERNELS(X) \
    TRIMTAB_PROTOTYPE_KERNELS(X) \
    TRIMTAB_LATER_KERNELS(X) \

#endif
