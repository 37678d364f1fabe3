"""The layout of packages (.ttp) and of records: the one truth that host, board and C kernels share.

A package is a header, a section table and sections, little-endian, each section 4-byte aligned.
A record is one kernel call: 32-bit words, the opcode, then the kernel's operands in the order given here.
firmware/kernels/records.h is this table as C structs; a test holds the two equal.
"""

MAGIC = b"TTP1"
VERSION = 1
ABI = 2  # grows when a record or the meaning of a field changes

# The file: magic, version and ABI as uint16, HEADER words, (offset, bytes, CRC32) of each section,
# (offset of the first record, records) of each phase, CRC32 of all before.

# Memory is five spaces. A reference is space << 28 | byte offset; NULL where an optional one is absent.
# CONST holds what is wider than a byte and lies aligned, WEIGHTS the bytes, which are read wherever they lie.
ARENA, STATE, CONST, PROGRAM, WEIGHTS = range(5)
SPACE_SHIFT = 28
OFFSET_MASK = (1 << SPACE_SHIFT) - 1
NULL = -1

# Header words after magic and version/ABI, each an unsigned 32-bit word unless said.
HEADER = (
    "arena_bytes",
    "state_bytes",
    "input",  # reference of the int8 sample, NHWC
    "input_bytes",
    "input_shape",  # const reference: rank words, then that many sizes
    "input_scale",  # float32 bits
    "input_zero",  # signed
    "output",  # reference of the result: int32 logits of a head, else the int8 output tensor
    "output_count",
    "output_scale",  # float32 bits; of the int8 output tensor
    "output_zero",  # signed
    "loss_kind",  # 0 none (inference only), 1 softmax, 2 mse
    "classes",  # outputs of the head in use; a head may have rows for more
    "target",  # arena reference: int32 class, or int8 values for mse
    "clock",  # state reference: step, total as uint32
    "rng",  # state reference: uint32 of the generator
    "accumulate",  # samples for each update, 1 or more
    "latent",  # arena reference: int8, what `prefix` leaves
    "latent_bytes",  # 0 without a prefix
    "names",  # state reference: LABEL_BYTES of UTF-8 for each spare row of the head, filled up with NUL
    "head_bias",  # state reference: int32 of each row of the head; of prototypes, how many samples they have
    "study_input",  # arena references of the sample and the target for `study`, as input and target
    "study_target",
    "fisher",  # arena reference: sums of `fisher`, int32 for each channel of each candidate, then exponents
    "flags",
)
LOSSES = ("none", "softmax", "mse")
SECTIONS = (
    "const",
    "weights",
    "program",
    "state",
    "segments",
    "labels",
    "golden",
    "choice",
    "plan",
    "signature",
)
# segments: pairs of words (state offset, bytes) in the order in which a save writes them, no padding
# labels: UTF-8, NUL between; first the package's name
# golden: output CRC, state CRC after one step, class (uint32 each), the first GOLDEN_BYTES of the int8
#     sample, which then repeat, the int8 target of mse
# choice: what a board may choose to train (tinytrain.py); empty where nothing is to be chosen
# plan: zlib JSON for the host; a board never reads it

GOLDEN_BYTES = 1021
LABEL_BYTES = 16
SPARE_BIAS = -(1 << 29)  # of a row that is not in use: far below all others, so its probability is 0

# The time line, cut where Python has a say. A phase is a run of records in the program section.
PHASES = (
    "map",  # raw uint8 samples only: the input through a table, in place
    "begin",  # learning rate of this step
    "prefix",  # forward, as long as nothing is trained; leaves one tensor, the latent
    "forward",  # the rest; the last record's value is the class, where there is a head
    "loss",  # its value is the loss in 1/1024 nat
    "gate",  # error of the head; value 0: nothing to learn, skip `backward`
    "head",  # update of the head
    "backward",  # gradients and updates, each update as soon as its gradient exists
    "fold",  # after the last sample of an accumulation: sums move what they belong to
    "end",  # step += 1
    "enroll",  # after `forward`, in place of a step: the sample joins the prototype of its class
    "study_map",  # as map, of the sample that is studied
    "study",  # forward, loss and gate with nothing trained; value 0: nothing to learn, skip `fisher`
    "fisher",  # errors down to the first candidate, and what they tell about its channels
)

# A field is "name" for a number, or "name:kind:extent" for a reference: kind is ? (may be NULL) and !
# (written), then the element: b int8, h int16, i int32, m one bit, r `residual` bits, x uint16 indices below
# the fourth part. Extents are products of fields; each factor but nk is at least 1. A third column adds
# rules: a+b<=c, a*b=c, a|b (divides), or n@s+...<size (the last of n elements that lie s apart is there).
_GEOMETRY = " ih iw ic oh ow oc kh kw sh sw pt pl"
# Memory that is free while the kernel runs, for words of operands that fast loops pack. It is given where no
# weight is -128; what it holds before and after is nobody's business.
_SCRATCH = " scratch:?!i:words words"
_WEIGHTS = " w:?b:oc*kh*kw*ic k:?b:oc*kh*kw*nk kept:?x:nk:ic"  # frozen tensor, trained plane: their sum
_DEPTHWISE = " w:?b:kh*kw*oc k:?b:kh*kw*nk kept:?x:nk:oc"  # the plane instead of these channels
# Where an error tensor g is written: the producer's mask, one addend brought to the common exponent, tracker.
_ERROR_OUT = (
    " g:!b:ih*iw*ic mask:?m:ih*iw*ic add:?b:ih*iw*ic add_exp:?i:1 add_mul add_shift"
    " exp:!i:1 track:!h:1 head_exp:i:1"
)
_UPDATE = " k:!b:NK r:?!r:NK acc:?!h:NK u:h:oc lr:i:2 rng:?!i:1 residual pre"
_STEPS = " s0 s1 s2 s3 size"
_SPREAD = " n c n2 c2 zx2"
_WINDOW = "top+ih<=yh left+iw<=yw first+ic<=yc"
# fmt: off
RECORDS = (
    # forward
    ("conv_fwd", "y:!b:oh*ow*oc x:b:ih*iw*ic" + _WEIGHTS
     + " bias:i:oc mult:i:oc shift:b:oc mask:?!m:oh*ow*oc" + _GEOMETRY + " nk zx zy lo hi once" + _SCRATCH,
     "nk<=ic"),
    ("depthwise_fwd", "y:!b:oh*ow*oc x:b:ih*iw*ic" + _DEPTHWISE
     + " bias:i:oc mult:i:oc shift:b:oc mask:?!m:oh*ow*oc plane:?!b:ih*iw" + _GEOMETRY + " nk zx zy lo hi"
     + _SCRATCH,
     "ic|oc nk<=oc"),
    ("add_fwd", "y:!b:n x:b:n x2:b:n mask:?!m:n n zx zx2 zy mult shift mult2 shift2 mult_y shift_y lo hi"),
    ("avg_pool_fwd", "y:!b:oh*ow*ic x:b:ih*iw*ic" + _GEOMETRY + " lo hi"),
    ("max_pool_fwd", "y:!b:oh*ow*ic x:b:ih*iw*ic" + _GEOMETRY + " lo hi"),
    ("mean_fwd", "y:!b:ic x:b:n*ic mask:?!m:ic n ic zx zy mult shift"),
    ("lut_fwd", "y:!b:n x:b:n table:b:256 n"),
    ("copy_fwd", "y:!b:yh*yw*yc x:b:ih*iw*ic ih iw ic yh yw yc top left first fill",
     _WINDOW),  # fill 256: leave the rest
    ("gather", "y:!b:n*nk x:b:n*ic kept:x:nk:ic n ic nk"),
    ("softmax_fwd", "y:!b:rows*n x:b:rows*n table:i:256 rows n"),
    ("requantize_fwd", "y:!b:n x:b:n mask:?!m:n n zx zy mult shift"),
    # head and loss
    ("head_fwd", "logits:!i:n x:b:f w:h:n*f bias:i:n n f zx bias_mul bias_shift"),
    ("softmax_loss", "logits:!i:n label:i:1 exp_table:h:256 ln_table:h:128 n pre mul shift"),  # leaves p - y
    ("head_dx", "g:!b:f err:i:n w:h:n*f sums:!i:f mask:?m:f exp:!i:1 head_exp:!i:1 n f scale scale_exp"),
    ("head_dw", "w:!h:n*f bias:!i:n acc:?!h:n*f acc_bias:?!i:n err:i:n x:b:f lr:i:2 n f zx limit u u_shift"),
    ("mse_loss", "y:b:n target:b:n n"),
    ("mse_dx", "g:!b:n y:b:n target:b:n mask:?m:n exp:!i:1 head_exp:!i:1 n scale_exp"),
    # errors of inputs
    ("conv_dx", "gy:b:oh*ow*oc" + _WEIGHTS + " m:h:oc row:!i:ic gy_exp:i:1" + _GEOMETRY + " nk m_shift m_exp"
     + _ERROR_OUT + _SCRATCH, "nk<=ic"),
    ("depthwise_dx", "gy:b:oh*ow*oc" + _DEPTHWISE + " m:h:oc plane:?!b:oh*ow gy_exp:i:1" + _GEOMETRY
     + " nk m_shift m_exp" + _ERROR_OUT + _SCRATCH, "ic|oc nk<=oc"),
    ("scale_dx", "gy:b:yh*yw*yc gy_exp:i:1 row:!i:ic ih iw ic yh yw yc top left first m m_exp" + _ERROR_OUT,
     _WINDOW),
    ("avg_dx", "gy:b:oh*ow*ic m:h:kh*kw row:!i:ic gy_exp:i:1" + _GEOMETRY + " m_exp" + _ERROR_OUT),
    ("max_dx", "gy:b:oh*ow*ic x:b:ih*iw*ic row:!i:ic gy_exp:i:1" + _GEOMETRY + _ERROR_OUT),
    ("lut_dx", "gy:b:ih*iw*ic x:b:ih*iw*ic slope:h:256 row:!i:ic gy_exp:i:1 ih iw ic m_exp" + _ERROR_OUT),
    # updates
    ("conv_dw", "gy:b:oh*ow*oc x:b:ih*iw*ic kept:?x:nk:ic gy_exp:i:1"
     + _UPDATE.replace("NK", "oc*kh*kw*nk") + _GEOMETRY + " nk zx" + _SCRATCH, "nk<=ic 4|residual"),
    ("depthwise_dw", "gy:b:oh*ow*oc x:b:ih*iw*ic kept:?x:nk:oc gy_exp:i:1"
     + _UPDATE.replace("NK", "kh*kw*nk") + _GEOMETRY + " nk zx" + _SCRATCH, "ic|oc nk<=oc 4|residual"),
    ("bias_dw", "gy:b:n*oc gy_exp:i:1 bias:!i:oc acc:?!i:oc u:h:oc lr:i:2 n oc"),
    ("fold_weights", "k:!b:n r:?!r:n acc:!h:n n residual keep", "4|residual"),
    ("fold_bias", "bias:!i:n acc:!i:n n keep"),
    ("fold_head", "w:!h:n*f bias:!i:n acc:!h:n*f acc_bias:!i:n n f limit keep"),
    # the clock
    ("begin_step", "lr:!i:2 clock:i:2 cosine:h:64 rate rate_shift"),
    ("end_step", "clock:!i:2"),
    # lite residual modules (plain/tinytl.py): affine is gamma, then beta, Q16
    ("tinytl_conv_fwd", "y:!b:oh*ow*oc x:b:ih*iw*ic w:b:oc*kh*kw*part sums:!i:oh*ow*norm stats:!i:norms"
     + _GEOMETRY + " part norm norms zx pre", "part|ic norm*norms=oc"),
    ("tinytl_affine_fwd", "y:!b:n*oc x:b:n*oc affine:i:2*oc n oc bound"),
    ("tinytl_add_fwd", "y:!b:oh*ow*oc x:b:oh*ow*oc x2:b:ih*iw*oc affine:i:2*oc mask:?!m:oh*ow*oc"
     " ih iw oh ow oc bound lo hi"),
    ("tinytl_add_dx", "d:!i:ih*iw*oc gy:b:oh*ow*oc ih iw oh ow oc"),
    ("tinytl_conv_dx", "d:!i:n*ic gy:b:n*oc w:b:oc*ic n ic oc"),
    ("tinytl_norm_dx", "g:!b:n*oc exp:!i:1 sums:!i:n*oc x:b:n*oc stats:i:norms affine:!i:2*oc acc:?!i:2*oc"
     " gy_exp:i:1 lr:i:2 n oc norm norms parts relu bound m_exp u_gamma u_beta pre",
     "norm*norms=oc parts|oc"),
    # inverted residual blocks with step-function gradients (plain/mobiletl.py)
    ("mobiletl_fwd", "y:!b:n x:b:n table:b:256 mask:!m:n n zx"),
    ("mobiletl_mask", "mask:!m:n y:b:n n hi"),
    ("mobiletl_gain", "mult_out:!i:oc shift_out:!b:oc m_out:!h:oc mult:i:oc shift:b:oc m:h:oc gain:i:oc oc"),
    ("mobiletl_gain_dw", "gy:b:n*oc y:b:n*oc gy_exp:i:1 gain:!i:oc acc:?!i:oc u:h:oc lr:i:2 pre n oc zy"),
    # few samples: Fisher information and prototypes (plain/tinytrain.py)
    ("tinytrain_fisher", "f:!i:ic f_exp:!i:1 x:b:n*ic g:b:n*ic g_exp:i:1 sums:!i:ic n ic zx"),
    ("tinytrain_hold", "k:!b:rows*nk r:?!r:rows*nk w:b:rows*ic kept:x:nk:ic rows nk ic residual",
     "nk<=ic 4|residual"),
    # prototype head (plain/prototypes.py)
    ("prototype_fwd", "logits:!i:n x:b:f protos:h:n*f counts:i:n unit:!h:f norm:!i:2 n f zx"),
    ("prototype_dx", "g:!b:f err:i:n protos:h:n*f unit:h:f norm:i:2 sums:!i:f mask:?m:f exp:!i:1"
     " head_exp:!i:1 n f scale scale_exp"),
    ("prototype_add", "protos:!h:n*f totals:!i:n*f counts:!i:n label:i:1 unit:h:f n f window"),
    # two operands of which the second, (n2, c2), repeats over (n, c) (plain/spread.py)
    ("mul_fwd", "y:!b:n*c x:b:n*c x2:b:n2*c2 mask:?!m:n*c" + _SPREAD
     + " zx zy mult shift lo hi", "n2|n c2|c"),
    ("sum_fwd", "y:!b:n*c x:b:n*c x2:b:n2*c2 mask:?!m:n*c" + _SPREAD
     + " zx zy mult shift mult2 shift2 mult_y shift_y sign sign2 lo hi", "n2|n c2|c"),
    ("mul_dx", "gy:b:n*c row:!i:ic x2:b:n2*c2 gy_exp:i:1" + _SPREAD + " m m_shift m_exp ih iw ic gn"
     + _ERROR_OUT, "n2|n c2|c ih*iw=gn gn|n ic|c"),
    ("prelu_fwd", "y:!b:n*c x:b:n*c x2:b:n2*c2 mask:?!m:n*c" + _SPREAD
     + " zx zy mult shift mult2 shift2 lo hi", "n2|n c2|c"),
    ("prelu_dx", "gy:b:ih*iw*ic row:!i:ic x:b:ih*iw*ic gy_exp:i:1 slope:h:n2*c2 ih iw ic n2 c2 zx m m_exp"
     + _ERROR_OUT),
    # elements in another order, or some of them: along axis k they lie sk apart (plain/move.py)
    ("move_fwd", "y:!b:n0*n1*n2*n3 x:b:size n0 n1 n2 n3" + _STEPS, "n0@s0+n1@s1+n2@s2+n3@s3<size"),
    ("move_dx", "gy:b:size row:!i:ic gy_exp:i:1 n0 n1 ih iw ic f0 f1 f2 f3 c0 c1 c2 c3" + _STEPS + _ERROR_OUT,
     "n0*n1=ih f0+c0<=n0 f1+c1<=n1 f2+c2<=iw f3+c3<=ic c0@s0+c1@s1+c2@s2+c3@s3<size"),
)
# fmt: on
OPCODES = {row[0]: code for code, row in enumerate(RECORDS)}
GROUPS = {
    "geometry": _GEOMETRY,
    "weights": _WEIGHTS,
    "update": _UPDATE,
    "error_out": _ERROR_OUT,
}  # structs in C

# What a number may be, by its name; loading checks it, and the kernels need it: no index overflows, no shift
# is too long, nothing is divided by zero. Numbers that are not listed are extents: 1 to OFFSET_MASK.
_SIZE, _STRIDE, _INT8, _EXP = (1, 32767), (1, 255), (-128, 127), (-4096, 4095)
# fmt: off
LIMITS = {
    "ih": _SIZE, "iw": _SIZE, "oh": _SIZE, "ow": _SIZE, "kh": _SIZE, "kw": _SIZE, "yh": _SIZE, "yw": _SIZE,
    "sh": _STRIDE, "sw": _STRIDE, "pt": (0, 32767), "pl": (0, 32767), "nk": (0, OFFSET_MASK),
    "top": (0, 32767), "left": (0, 32767), "first": (0, OFFSET_MASK), "fill": (-128, 256),
    "zx": _INT8, "zx2": _INT8, "zy": _INT8, "lo": _INT8, "hi": _INT8, "once": (0, 1),
    "mult": (0, 0x7FFFFFFF), "mult2": (0, 0x7FFFFFFF), "mult_y": (0, 0x7FFFFFFF),
    "shift": (-31, 30), "shift2": (-31, 30), "shift_y": (-31, 30),
    "bias_mul": (0, 0x7FFFFFFF), "bias_shift": (0, 62), "mul": (0, 65535), "pre": (0, 31), "m_shift": (0, 31),
    "m": (-32768, 32767), "m_exp": _EXP, "add_mul": (-32768, 32767), "add_shift": _EXP, "scale": (0, 255),
    "scale_exp": _EXP, "u": (0, 255), "u_shift": _EXP, "limit": (0, 32767),
    "rate": (0, 255), "rate_shift": _EXP,
    "residual": (0, 8), "bound": (1, 127), "relu": (0, 1), "u_gamma": (0, 65535), "u_beta": (0, 65535),
    "sign": (-1, 1), "sign2": (-1, 1),
    "f0": (0, OFFSET_MASK), "f1": (0, OFFSET_MASK), "f2": (0, OFFSET_MASK), "f3": (0, OFFSET_MASK),
    "keep": (0, 255),  # of a sum, in 1/256
    "window": (2, 65535),
}
# fmt: on


def fields(text):
    """Field specifications as tuples (name, kind or None, extent names, index bound)."""
    rows = []
    for word in text.split():
        parts = word.split(":")
        extent = parts[2].split("*") if len(parts) > 2 else ()
        rows.append(
            (parts[0], parts[1] if len(parts) > 1 else None, extent, parts[3] if len(parts) > 3 else None)
        )
    return rows
