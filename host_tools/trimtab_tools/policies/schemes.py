"""The sparse updates that MCUNetV3 published, by name: how many last layers train biases, which train
weights.

Layers are counted from 0 at the first conv, without the classifier. A share r of a layer's input channels (of
a depthwise layer's channels) is trained, the largest by magnitude. Schemes of one's own are written out:
"20:24=1/4,27=1/2,30=1/2" is mcunet-49kb.
"""

from fractions import Fraction

from ..errors import ModelError

# network: name, convs, weights without the classifier
NETWORKS = {
    "mcunet": ("MCUNet-5fps", 42, 463216),
    "mbv2": ("MobileNetV2-w0.35", 51, 238688),
    "proxyless": ("ProxylessNAS-w0.3", 60, 320816),
}

# scheme: last convs whose biases train, {conv: share of its channels whose weights train}
SCHEMES = {
    "mcunet-49kb": (20, {24: 1 / 4, 27: 1 / 2, 30: 1 / 2}),
    "mcunet-74kb": (21, {21: 1, 24: 1, 27: 1 / 2, 30: 1}),
    "mcunet-99kb": (22, {21: 1, 24: 1, 27: 1, 30: 1, 36: 1 / 8, 39: 1 / 4}),
    "mcunet-124kb": (24, {21: 1 / 4, 24: 1, 27: 1, 30: 1, 33: 1 / 2, 39: 1 / 2}),
    "mcunet-148kb": (23, {21: 1, 24: 1, 27: 1, 30: 1, 36: 1, 39: 1 / 2}),
    "mbv2-49kb": (16, {36: 1, 39: 1, 41: 1 / 4, 42: 1 / 8, 45: 1 / 8, 48: 1 / 8, 49: 1 / 8}),
    "mbv2-73kb": (20, {32: 1 / 8, 33: 1 / 2, 36: 1 / 2, 39: 1, 41: 1 / 4, 42: 1 / 8, 45: 1 / 8, 48: 1}),
    "mbv2-99kb": (25, {27: 1, 30: 1, 33: 1, 36: 1, 39: 1, 42: 1 / 8, 45: 1 / 2, 48: 1}),
    "mbv2-123kb": (31, {27: 1, 30: 1, 33: 1, 36: 1, 39: 1, 42: 1 / 2, 45: 1, 48: 1}),
    "mbv2-138kb": (34, {27: 1, 30: 1, 33: 1, 36: 1, 39: 1, 42: 1, 45: 1, 48: 1}),
    "proxyless-49kb": (21, {39: 1 / 4, 42: 1, 45: 1, 51: 1 / 8, 54: 1 / 4, 57: 1 / 4}),
    "proxyless-74kb": (28, {33: 1 / 2, 36: 1 / 4, 39: 1, 42: 1, 45: 1, 51: 1 / 2, 54: 1 / 4, 57: 1 / 2}),
    "proxyless-98kb": (25, {36: 1, 39: 1 / 2, 42: 1, 45: 1, 48: 1 / 4, 51: 1 / 2, 54: 1, 57: 1}),
    "proxyless-120kb": (32, {36: 1, 39: 1, 42: 1, 45: 1, 48: 1 / 2, 51: 1, 54: 1, 57: 1}),
    "proxyless-148kb": (45, {36: 1, 39: 1, 42: 1, 45: 1, 48: 1, 51: 1, 54: 1, 57: 1}),
}


def find(name: str, weights: list[int]) -> dict[int, float]:
    """{conv: share}, 0 for its bias alone, of a scheme; weights: how many each layer of the trunk has."""
    if name[:1].isdigit():
        return _read(name, len(weights))
    if name not in SCHEMES:
        raise ModelError(f"scheme {name!r} is unknown: use one of {', '.join(SCHEMES)}")
    title, convs, total = NETWORKS[name.split("-")[0]]
    if (len(weights), sum(weights)) != (convs, total):
        raise ModelError(
            f"scheme {name} is for {title} ({convs} layers, {total} weights), this model has {len(weights)} "
            f"and {sum(weights)}: write a plan by hand, --policy plan:FILE.json"
        )
    return _shares(convs, *SCHEMES[name])


def write(last: int, shares: dict[int, float]) -> str:
    """A scheme in one word."""
    return f"{last}:" + ",".join(
        f"{conv}={Fraction(share)}" for conv, share in sorted(shares.items()) if share
    )


def _read(text, convs):
    last, _, pairs = text.partition(":")
    try:
        last = int(last)
        shares = {
            int(conv): float(Fraction(share)) for conv, share in (p.split("=") for p in pairs.split(",") if p)
        }
    except (ValueError, ZeroDivisionError):
        raise ModelError(
            f"scheme {text!r} cannot be read: write how many last layers train biases, then layers and "
            "shares, for instance 20:24=1/4,30=1"
        )
    if not (0 <= last <= convs and all(0 <= conv < convs for conv in shares)):
        raise ModelError(f"scheme {text!r} names layers that are not there: this model has {convs}, from 0")
    return _shares(convs, last, shares)


def _shares(convs, last, shares):
    return {**dict.fromkeys(range(convs - last, convs), 0), **shares}
