"""Where only some channels of a layer train, only those channels of its input are kept for the update.

A `gather` packs them just before the last record of the forward pass that reads the input, so the whole input
need not live longer.
"""

import numpy as np

from ..graph.program import Buffer, Program, Record

UPDATES = ("conv_dw", "depthwise_dw")


def pack(program: Program) -> Program:
    """The program in which partial updates read packed inputs."""
    forward, backward = list(program.phases["forward"]), list(program.phases["backward"])
    for x in {record.values["x"]: None for record in backward if record.kernel in UPDATES}:
        users = [record for record in backward if any(buffer is x for _, buffer, *_ in record.spans)]
        if not all(_partial(record) for record in users) or x is program.output:
            continue
        if sum(_packed(record).size for record in users) >= x.size:  # nothing is saved
            continue
        for record in users:
            packed = _packed(record)
            gather = _gather(packed, x, _inputs(program, record), record.values["ic"], record.layer)
            forward.insert(_last_reader(forward, x), gather)
            at = backward.index(record)
            backward[at : at + 1] = _update(program, record, packed)
    return program.but(forward=forward, backward=backward)


def _partial(record):
    return record.kernel in UPDATES and record.values.get("kept") is not None


def _packed(record):
    v = record.values
    return _channels_of(v["x"], v["ih"], v["iw"], v["nk"])


def _channels_of(tensor, h, w, n):
    return Buffer(f"{n} channels of {tensor.name}", h * w * n, shape=(h, w, n))


def _last_reader(forward, x):
    return max(
        i
        for i, record in enumerate(forward)
        if any(b is x and not written for _, b, _, _, written in record.spans)
    )


def _inputs(program, record):
    """The channels of x that a record's kept channels read: a depthwise layer may make several of each."""
    v = record.values
    if record.kernel == "conv_dw" or v["ic"] == v["oc"]:
        return v["kept"]
    many = v["oc"] // v["ic"]
    return program.const(_channels(v["kept"]) // many, np.uint16)


def _channels(const):
    return np.frombuffer(const.data, "<u2")


def _gather(y, x, kept, ic, layer):
    h, w, nk = y.shape
    return Record("gather", dict(y=y, x=x, kept=kept, n=h * w, ic=ic, nk=nk), layer)


def _update(program, record, x):
    """The update that reads packed channels. A depthwise one packs its error, too."""
    v = record.values
    if record.kernel == "conv_dw":
        return [record.but(x=x, kept=None, ic=v["nk"])]
    gy = _channels_of(v["gy"], v["oh"], v["ow"], v["nk"])
    u = program.const(_channels(v["u"])[_channels(v["kept"])], np.uint16)
    return [
        _gather(gy, v["gy"], v["kept"], v["oc"], record.layer),
        record.but(gy=gy, x=x, kept=None, u=u, ic=v["nk"], oc=v["nk"]),
    ]
