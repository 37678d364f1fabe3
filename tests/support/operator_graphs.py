"""A small trainable network around each operator, by the operator's name."""

from helpers import calibrated, compiled, inputs
from models import Builder

SAMPLES = 4


def around(grow, shape=(6, 6, 3), seed=1):
    """A trainable layer, the operator, another trainable layer, a head."""
    b = Builder(shape, seed)
    b.conv(6, act="relu", scale=0.1, zero=-128)
    grow(b)
    if len(b.shape()) == 4 and b.shape()[3] > 1:
        b.conv(8, (1, 1), scale=0.05, zero=3)
        b.mean(scale=0.02, zero=-5)
    else:
        b.dense(8, scale=0.05, zero=7)
    graph = b.graph()
    return calibrated(graph, inputs(graph, SAMPLES))


def unary(kind, zero=0, scale=0.05):
    def grow(b):
        b.conv(6, (1, 1), scale=0.06, zero=4)
        b.unary(kind, scale=scale, zero=zero)

    return grow


def concat(axis):
    def grow(b):
        x = b.x
        left = b.conv(5 if axis == 3 else 6, (1, 1), scale=0.1, zero=3)
        b.x = x
        right = b.depthwise(scale=0.1, zero=3)
        b.concat(left, right, left, axis=axis)

    return grow


def added(act="none", zero=-60):
    def grow(b):
        x = b.x
        b.conv(6, (3, 3), scale=0.1, zero=12)
        b.add(x, b.x, act, scale=0.15, zero=zero)

    return grow


def excited(b):
    """Squeeze-and-excite: each channel times a factor that depends on all positions."""
    x = b.x
    b.mean(keepdims=True, scale=0.1, zero=-128)
    b.conv(6, (1, 1), scale=0.05, zero=3)
    b.unary("logistic")
    b.joined("mul", b.x, x, scale=0.06, zero=-110)


def joined(kind, other=None, scale=0.15, zero=-60, act="none", first=False):
    """x and another tensor: what `other` grows on x, or a conv of x."""

    def grow(b):
        x = b.x
        (other or (lambda b: b.conv(6, scale=0.05, zero=12)))(b)
        b.joined(kind, *((b.x, x) if first else (x, b.x)), act=act, scale=scale, zero=zero)

    return grow


def channels(b):
    b.mean(keepdims=True, scale=0.07, zero=-90)
    b.conv(6, (1, 1), scale=0.04, zero=-10)


def attention(b):
    b.mean(keepdims=True, scale=0.1, zero=-128)
    b.conv(36, (1, 1), scale=0.02, zero=0)
    b.reshape(6, 6, 1)


def constant(*shape):
    def grow(b):
        b.x = b.constant(*shape, scale=0.02, zero=4)

    return grow


def dense_on_reshaped(b):
    b.pool("avg_pool")
    b.reshape(3, 18)
    b.reshape(54)
    b.dense(10, act="relu6", scale=0.024, zero=-128)


def three_consumers(b):
    x = b.x
    one = b.conv(6, (1, 1), act="relu6", scale=0.024, zero=-128)
    b.x = x
    two = b.depthwise(scale=0.05, zero=5)
    b.add(one, two, scale=0.06, zero=0)
    b.add(x, b.x, scale=0.15, zero=-70)


def four_multiples(b):
    """x in three adds, twice in one of them, and under a layer: partial errors in a chain."""
    x = b.x
    twice = b.add(x, x, scale=0.2, zero=-128)
    thrice = b.add(x, twice, scale=0.3, zero=-128)
    b.conv(6, (1, 1), scale=0.1, zero=0)
    b.add(x, b.x, scale=0.2, zero=-70)
    b.add(thrice, b.x, scale=0.4, zero=-100)


def two_skips_and_a_branch(b):
    """Two residual blocks on one stream; a branch leaves between them and comes back pooled."""
    x = b.x
    b.depthwise(act="relu6", scale=0.024, zero=-128)
    b.conv(6, (1, 1), scale=0.1, zero=3)
    y = b.add(x, b.x, scale=0.15, zero=-60)
    b.conv(12, (1, 1), act="relu6", scale=0.024, zero=-128)
    b.depthwise(kernel=(5, 5), act="relu", scale=0.1, zero=-128)
    b.conv(6, (1, 1), scale=0.1, zero=0)
    z = b.add(y, b.x, scale=0.2, zero=-50)
    b.x = y
    b.pool("max_pool", (3, 3), (1, 1), "same")
    branch = b.conv(6, (1, 1), scale=0.2, zero=-50)
    b.concat(z, branch)


def halves_added(b):
    """Both halves of the channels, each read apart: their errors come together again."""
    x = b.x
    one = b.slice((0, 0, 0), (6, 6, 3))
    b.x = x
    b.slice((0, 0, 3), (6, 6, 3))
    b.add(one, b.x, scale=0.2, zero=-128)


OPERATORS = {
    "conv3x3": lambda b: b.conv(5),
    "conv_stride2": lambda b: b.conv(7, (3, 3), (2, 2), act="relu6"),
    "conv_valid_2x3": lambda b: b.conv(5, (2, 3), (1, 2), "valid"),
    "conv5x5": lambda b: b.conv(4, (5, 5), (2, 2), act="relu"),
    "depthwise": lambda b: b.depthwise(),
    "depthwise_stride2": lambda b: b.depthwise(kernel=(5, 5), stride=(2, 2), act="relu6"),
    "depthwise_multiplier": lambda b: b.depthwise(multiplier=3, padding="valid"),
    "dense": lambda b: b.dense(10, act="relu"),
    "dense_on_reshaped": dense_on_reshaped,
    "add": added(),
    "add_relu": added("relu", -128),
    "add_channels": joined("add", channels, zero=-80),
    "add_constant": joined("add", constant(6), act="relu", zero=-128),
    "sub": joined("sub", act="relu6", scale=0.024, zero=-128),
    "sub_channels": joined("sub", channels, scale=0.1, zero=10, first=True),
    "sub_from_constant": joined("sub", constant(1, 1, 1, 6), zero=60, first=True),
    "mul": joined("mul", scale=0.3, zero=5),
    "mul_relu": joined("mul", scale=0.2, zero=-128, act="relu"),
    "mul_positions": joined("mul", attention, scale=0.3, zero=-10),
    "mul_constant": joined("mul", constant(6), scale=0.2, zero=3),
    "mul_scalar": joined("mul", constant(), scale=0.2, zero=3),
    "squared": lambda b: b.joined("mul", b.x, b.x, scale=1.5, zero=-128),
    "squeeze_and_excite": excited,
    "x_plus_x": lambda b: b.add(b.x, b.x, scale=0.2, zero=-100),
    "avg_pool": lambda b: b.pool("avg_pool"),
    "avg_pool_same": lambda b: b.pool("avg_pool", (3, 3), (2, 2), "same"),
    "max_pool": lambda b: b.pool("max_pool"),
    "max_pool_overlapping": lambda b: b.pool("max_pool", (3, 3), (2, 2), "same"),
    "mean": lambda b: b.mean(keepdims=True, scale=0.07, zero=-90),
    "mean_over_time": lambda b: (b.reshape(36, 6), b.mean(axes=(1,), scale=0.07, zero=-90)),
    "mean_of_rows": lambda b: b.mean(axes=(1,), scale=0.07, zero=-90),
    "dense_on_positions": lambda b: b.dense(7, "relu6", positions=True, scale=0.024, zero=-128),
    "mean_flat": lambda b: b.mean(scale=0.07, zero=-90),
    "relu": unary("relu", -128, 0.03),
    "relu6": unary("relu6", -128, 6 / 255),
    "hard_swish": unary("hard_swish", -100),
    "logistic": unary("logistic"),
    "tanh": unary("tanh"),
    "elu": unary("elu", -80),
    "gelu": unary("gelu", -110),
    "gelu_tanh": unary("gelu_tanh", -110),
    "prelu": lambda b: (b.conv(6, (1, 1), scale=0.06, zero=4), b.prelu(1, 1, 6, scale=0.05, zero=-20)),
    "minimum": lambda b: b.bounded("minimum", 40),
    "maximum": lambda b: b.bounded("maximum", -70),
    "leaky_relu": unary("leaky_relu", -60),
    "pad": lambda b: b.pad((1, 0), (2, 1), (0, 0)),
    "concat": concat(3),
    "concat_rows": concat(1),
    "slice": lambda b: b.slice((1, 0, 2), (4, 5, 3)),
    "slice_of_channels": lambda b: b.slice((0, 0, 3), (6, 6, 2)),
    "halves_added": halves_added,
    "transpose": lambda b: b.transpose(3, 1, 2),
    "transpose_columns": lambda b: (b.reshape(3, 12, 2, 3), b.transpose(2, 1, 4, 3), b.reshape(6, 6, 6)),
    "reshape": lambda b: b.reshape(3, 12, 6),
    "requantize": lambda b: b.layer("requantize", b.shape(), scale=0.09, zero=11),
    "three_consumers": three_consumers,
    "four_multiples": four_multiples,
    "two_skips_and_a_branch": two_skips_and_a_branch,
}


def case(name, **options):
    graph = around(OPERATORS[name])
    return compiled(graph, **options), inputs(graph, SAMPLES), [i % 4 for i in range(SAMPLES)]
