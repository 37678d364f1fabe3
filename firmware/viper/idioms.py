"""The vocabulary of the viper sources. The build puts each meaning in the place of its name.

Viper is Python that MicroPython compiles to machine code. A call is slow there, constants cost bytes, and
records are rows of numbers. So the sources are written with the names of this file, and
host_tools/trimtab_tools/toolchain/viper_idioms.py expands them before the cross compiler sees the code.

What a function may say:
  r.ih            a number of its record, by its name in format.RECORDS
  ref.x           where field x of its record points to, as a distance from `origin`; 0 where it is NULL
  FIELD.x         the place of a field in its record: for a helper whose parameter is annotated `Field`
  GEOMETRY.ih     the place of a field in a group of format.GROUPS
  s.zero          a scratch word of `Scratch`
  signed(x)       a function of this file that has a body: the body takes the place of the call
A kernel's record is the one of its own name. A helper names the records that it reads in @reads; a field that
it uses must stand at one place in all of them, and the build sees to that.

The names s, origin, r and wide need no assignment. The build binds those that a function uses at its head.

Words have 32 bits, but on a 64-bit machine viper's have 64. There a loaded word has lost its sign, and sums
do not wrap around: `word` repairs both.

Numbers that pass between functions must fit 30 bits, or MicroPython allocates memory for them. Larger ones
and addresses go through scratch words, an address as its distance from `origin`.

The first three names of a function live in registers. A hot loop keeps its pointers and its sum there, so
such a function begins with parameters that callers set to 0.
"""

# -- what MicroPython knows ----------------------------------------------------------------------------------


class ptr8:
    """A pointer to bytes without a sign. ptr8(address)[i] is byte i."""


class ptr16:
    """A pointer to 16 bits without a sign."""


class ptr32:
    """A pointer to words."""


class uint:
    """A word without a sign."""


# -- functions -----------------------------------------------------------------------------------------------


def kernel(function):
    """A kernel: it gets what bind() returns and its record's offset in bytes. Its head opens the record."""


def helper(function):
    """A viper function that reads no record by names."""


def reads(*records):
    """A viper function that reads these records, which the kernel before it has opened."""


class Field(int):
    """A parameter that takes FIELD.name: the place of a field in the record."""


# -- scratch words -------------------------------------------------------------------------------------------

SPACES = 8  # five distances: arena, state, constants, records, weights
AT = 16  # what the fields of the open record refer to, one word for each field
FIELDS = 32  # so many
X = 92  # a run of inputs, or numbers on their way between functions
ROW = 348  # a row of sums
N = 256  # words in X and in a row
SCRATCH = 604  # words in all


class Scratch:
    """The words that a kernel and its helpers share. A distance is 0 where there is nothing."""

    wide = 0  # bits of viper's words beyond 32: 0 or 32
    record = 1  # distance of the open record
    words = 2  # distance of the scratch itself

    # an output, or an error tensor: distances, then numbers
    y = 48
    mask = 49
    mult = 50
    shift = 51
    zero = 52
    low = 53
    high = 54
    once = 55  # 1: a product is rounded once; 0: twice, to its upper half and by the shift

    # what `expand` and `dots` read
    input = 56
    weights = 57
    kept = 58
    nk = 59
    ic = 60
    zx = 61
    sum = 62  # of X

    # an error tensor
    add = 64
    mul = 65
    down = 66
    up = 67
    base = 68
    to = 69  # the shift to int8
    largest = 70  # magnitude
    track = 71

    # an update, in the same words
    k = 64
    residual = 65
    acc = 66
    rng = 67
    u = 68
    rate = 69
    rate_shift = 70
    bits = 71
    pre = 72

    # a band of outputs of one channel
    pitch = 73  # from row to row of its inputs in X
    band_rows = 74  # of its outputs
    band_columns = 75
    scale = 76  # of its inputs, which are shifted right by `cut` then
    cut = 77
    input_step = 78  # from input to input
    weight_step = 79
    ih = 80  # its geometry, in the order of records
    iw = 81
    oh = 83
    ow = 84
    oc = 85
    kh = 86
    kw = 87
    sh = 88
    sw = 89
    pt = 90
    pl = 91


STAY = 0x3FFFFFFF  # a delta that leaves the weight alone
BIAS_MAX = 1 << 29

# -- names that the build binds ------------------------------------------------------------------------------

words = bytearray()  # the scratch words: the first parameter of every helper that uses the names below
s = ptr32(words)
origin = int(s) - s.words  # the address that distances count from
r = ptr32(origin + s.record)
wide = s.wide

# -- names of fields: the build knows them from format.py ----------------------------------------------------

ref = FIELD = GEOMETRY = WEIGHTS = UPDATE = ERROR_OUT = None


# -- expressions ---------------------------------------------------------------------------------------------


def word(v):
    """A loaded word, or a sum, as a number of 32 bits with its sign."""
    return v << wide >> wide


def load(at):
    """The word at distance `at`."""
    return word(ptr32(origin + at)[0])


def plus128(byte):
    """x + 128 of an int8 x, from its byte."""
    return byte ^ 128


def signed(byte):
    """An int8, from its byte."""
    return (byte ^ 128) - 128


def signed16(half):
    """An int16, from its 16 bits."""
    return (half ^ 0x8000) - 0x8000


def rsh(v, n):
    """v / 2^n to the nearest, ties up; n >= 1."""
    return (v >> n) + ((v >> (n - 1)) & 1)


def mask_bit(mask, i):
    """Bit i of a mask."""
    return (mask[i >> 3] >> (i & 7)) & 1


def nibble(plane, j):
    """A residual of 4 bits, with its sign."""
    return (((plane[j >> 1] >> ((j & 1) << 2)) & 15) ^ 8) - 8


def mantissa(u, rate):
    """The mantissa of a channel's step, u & 255, times the learning rate's, / 256 to the nearest."""
    return ((u & 255) * rate + 128) >> 8


def scratch(i):
    """A pointer to the scratch words from number i on."""
    return ptr32(int(s) + 4 * i)


# -- statements: `v = saturate(v, most)` ---------------------------------------------------------------------


def clamp(v, low, high):
    """v within low .. high."""
    if v < low:
        v = low
    elif v > high:
        v = high
    return v


def saturate(v, most):
    """v within -most .. most."""
    if v > most:
        v = most
    elif v < -most:
        v = -most
    return v


def shifted(t, e, most):
    """t / 2^e to the nearest, within -most .. most; e < 0 shifts left. It changes e, too."""
    limit = most
    if e < 0:
        if e < -31:
            e = -31
        limit = limit >> -e  # the largest that may still be shifted
    elif e > 31:
        t = 0
    elif e:
        t = rsh(t, e)
    if t > limit:
        t = most
    elif t < -limit:
        t = -most
    elif e < 0:
        t = t << -e
    return t
