"""Sub-tensor saving: where only some channels of a layer move, only those of its input are kept for the update.

A `gather` packs them when the input is last read in the forward pass, so that the whole input dies there.
"""

import numpy as np

from ..graph.program import Buffer, Record

UPDATES = ("conv_dw", "depthwise_dw")


def pack(program):
    """The program in which partial updates read packed inputs."""
    forward, backward = list(program.phases["forward"]), list(program.phases["backward"])
    for x in {step.values["x"]: None for step in backward if step.kernel in UPDATES}:
        users = [step for step in backward if any(buffer is x for _, buffer, *_ in step.spans)]
        if not all(_partial(step) for step in users) or x is program.output:
            continue
        if sum(_packed(step).size for step in users) >= x.size:
            continue
        for step in users:
            packed = _packed(step)
            gather = _gather(packed, x, _inputs(program, step), step.values["ic"], step.layer)
            forward.insert(_last_reader(forward, x), gather)
            at = backward.index(step)
            backward[at : at + 1] = _update(program, step, packed)
    return program.but(forward=forward, backward=backward)


def _partial(step):
    return step.kernel in UPDATES and step.values.get("kept") is not None


def _packed(step):
    v = step.values
    return _channels_of(v["x"], v["ih"], v["iw"], v["nk"])


def _channels_of(tensor, h, w, n):
    return Buffer(f"{n} channels of {tensor.name}", h * w * n, shape=(h, w, n))


def _last_reader(forward, x):
    return max(
        i
        for i, step in enumerate(forward)
        if any(b is x and not written for _, b, _, _, written in step.spans)
    )


def _inputs(program, step):
    """The channels of x that a step's kept channels read."""
    v = step.values
    if step.kernel == "conv_dw" or v["ic"] == v["oc"]:
        return v["kept"]
    many = v["oc"] // v["ic"]
    return program.const(_channels(v["kept"]) // many, np.uint16)


def _channels(const):
    return np.frombuffer(const.data, "<u2")


def _gather(y, x, kept, ic, layer):
    h, w, nk = y.shape
    return Record("gather", dict(y=y, x=x, kept=kept, n=h * w, ic=ic, nk=nk), layer)


def _update(program, step, x):
    """The update that reads packed channels; a depthwise one packs its error, too."""
    v = step.values
    if step.kernel == "conv_dw":
        return [step.but(x=x, kept=None, ic=v["nk"])]
    gy = _channels_of(v["gy"], v["oh"], v["ow"], v["nk"])
    u = program.const(_channels(v["u"])[_channels(v["kept"])], np.uint16)
    return [
        _gather(gy, v["gy"], v["kept"], v["oc"], step.layer),
        step.but(gy=gy, x=x, kept=None, u=u, ic=v["nk"], oc=v["nk"]),
    ]
