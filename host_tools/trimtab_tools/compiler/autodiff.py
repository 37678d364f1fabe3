"""From graph and plan to a program: forward steps, loss, and the gradients that the plan needs, no others.

Reverse mode at compile time. A tensor needs an error only if something below it is trained. Where several consumers
meet (skip connections), their contributions are summed: one that is only a multiple of gy waits and is added in
passing by the next kernel; others are chained through an int8 partial error.
"""

import math
from dataclasses import dataclass, field, replace

import numpy as np
from trimtab.format import LABEL_BYTES, LOSSES

from ..errors import ModelError
from ..graph.geometry import geometry, image
from ..graph.head import COSINES
from ..graph.program import Buffer, Program, Record
from ..graph.rounding import mantissa
from ..operators.registry import row
from ..policies import reserve
from ..policies.plan import TRAINABLE, weight_limit

COSINE = np.rint(32767 * 0.5 * (1 + np.cos(np.pi * (np.arange(64) + 0.5) / 64)))
EXP_TABLE = np.rint(32767 * np.exp(-np.arange(256) / 16))
LN_TABLE = np.rint(1024 * np.log((128.5 + np.arange(128)) / 128))
WINDOW = 32  # samples of which a prototype is the mean while a network trains
ENROLLED = 65535  # the same while classes are enrolled


def lower(graph, plan, pixels=None):
    """The program of a trunk and its plan. pixels: real values of raw 0 and 255, else the input's whole range."""
    return Lowering(graph, plan).run(pixels)


@dataclass
class Weights:
    """Where a layer's weights lie: frozen tensor, trained plane, its index list; residual and accumulator."""

    fields: dict
    nk: int = 0
    residual: Buffer | None = None
    acc: Buffer | None = None


@dataclass
class Error:
    """What is known of dL/dtensor while consumers are visited, last first."""

    waiting: int = 0  # contributions still to come
    partial: tuple | None = None  # (buffer, exponent slot, m, exponent) not yet written out
    buffer: Buffer | None = None
    exp: object = None


@dataclass
class Lowering:
    graph: object
    plan: object
    program: Program = field(default_factory=Program)

    def run(self, pixels):
        self._alias()
        self._buffers = {}
        self._masks = {}
        self._weights = {}
        self._biases = {}
        self._bias_accs = {}
        self.own = {op.name: {} for op in self.graph.ops}  # what an operator remembers between its rules
        self._errors = {}
        self._folds = []
        self._studied = {}  # tensor: layers that read it and may be chosen
        self._turns = {}
        self._updating = None  # weights and biases in a pool, while steps are made that write them
        self.open = reserve.open_layers(self)
        p, graph = self.program, self.graph
        self.lr = Buffer("rate", 8)
        self.head_exp = self._slot()
        self._trackers = []
        self.learned = self._below()
        self._trained_state()
        p.input = self.activation(graph.inputs[0])
        self._input_map(graph[graph.inputs[0]], pixels)
        self._forward()
        if self.plan.loss != "none":
            self._loss()
            self._backward()
            self._clock()
            if self.plan.study:
                self._study(pixels)
            self._finish_state()
        else:
            self._no_training()
        p.activations = {name: self.activation(name) for name in self._activations()}
        return p

    def _forward(self):
        for op in self.graph.ops:
            if op.name in self.open:
                reserve.keep_input(self, op)
            if op.kind != "reshape":
                row(op).forward(self, op)

    # -- what rules ask for

    def emit(self, kernel, values, layer, phase="forward"):
        self.program.phases[phase].append(Record(kernel, values, layer))

    def const(self, array, dtype):
        return self.program.const(np.asarray(array), dtype)

    def activation(self, name):
        name = self.alias.get(name, name)
        if name not in self._buffers:
            self._buffers[name] = Buffer(name, self.graph[name].size, shape=image(self.graph[name].shape))
        return self._buffers[name]

    def mask(self, name):
        """One bit per element, kept where the tensor's error will be wanted; else None."""
        if self.alias.get(name, name) not in self.learned:
            return None
        if name not in self._masks:
            self._masks[name] = Buffer(f"mask of {name}", (self.graph[name].size + 7) // 8)
        return self._masks[name]

    def scratch(self, size):
        return Buffer("row", size)

    def weights(self, op):
        return self._updating[0] if self._updating else self._weights[op.name]

    def bias(self, op):
        return self._updating[1] if self._updating else self._biases[op.name]

    def bias_acc(self, op):
        return self._bias_accs.get(op.name)

    def error(self, name):
        e = self._errors[self.alias.get(name, name)]
        return e.buffer, e.exp

    # -- graph facts

    def _alias(self):
        """A reshape moves nothing: its output is its input."""
        self.alias = {}
        for op in self.graph.ops:
            if op.kind == "reshape":
                source = op.inputs[0]
                self.alias[op.outputs[0]] = self.alias.get(source, source)

    def _activations(self):
        names = [self.graph.inputs[0]] + [n for op in self.graph.ops for n in op.outputs]
        return names

    def _inputs(self, op):
        """Indices and names of the activations that an operator reads and sends errors back to."""
        return [
            (i, self.alias.get(n, n))
            for i, n in enumerate(op.inputs)
            if n and not self.graph[n].constant and i not in op.attrs.get("detached", ())
        ]

    def _below(self):
        """Tensors whose error is wanted: something at or below their producer is trained."""
        wanted = set(self._studied)
        for op in self.graph.ops:
            if op.kind == "reshape":
                continue
            if self._update_of(op) or any(n in wanted for _, n in self._inputs(op)):
                if row(op).gradient is None:
                    raise ModelError(
                        f"layer {op.name}: training below a {op.kind} is not supported: train later layers"
                    )
                wanted.add(op.outputs[0])
        return wanted

    # -- state

    def _trained_state(self):
        """Planes and biases, in the order of the graph: int8, residual of each layer; then all biases; modules."""
        p, bits = self.program, self.plan.residual
        layers = [op for op in self.graph.ops if op.kind in TRAINABLE]
        for op in layers:
            update = self.plan.of(op.name)
            w = self.graph[op.inputs[1]].data
            if not update or not update.channels:
                p.where[op.inputs[1]] = self.const(w, np.int8)
                self._weights[op.name] = Weights(dict(w=p.where[op.inputs[1]], k=None, kept=None))
                continue
            kept = list(update.channels)
            whole = len(kept) == w.shape[-1]
            plane = w[..., kept]
            frozen = w.copy()
            frozen[..., kept] = 0
            about = dict(layer=op.name, tensor=op.inputs[1], role="weights", channels=kept, axis=update.axis)
            if not whole:
                p.where[op.inputs[1]] = self.const(frozen, np.int8)
            k = p.keep(f"{op.name}.weights", plane, np.int8, **about)
            r = None
            if bits:
                r = p.keep(
                    f"{op.name}.residual",
                    np.zeros((plane.size * bits + 7) // 8),
                    np.int8,
                    layer=op.name,
                    role="residual",
                )
            self._weights[op.name] = Weights(
                dict(w=p.where.get(op.inputs[1]), k=k, kept=None if whole else self.const(kept, np.uint16)),
                len(kept),
                r,
            )
        for op in layers:
            b, update = self.graph[op.inputs[2]].data, self.plan.of(op.name)
            if update and update.bias:
                self._biases[op.name] = p.keep(
                    f"{op.name}.bias",
                    np.clip(b.astype(np.int64), -(1 << 29), 1 << 29),
                    np.int32,
                    layer=op.name,
                    tensor=op.inputs[2],
                    role="bias",
                )
            else:
                self._biases[op.name] = p.where[op.inputs[2]] = self.const(b, np.int32)
        for op in self.graph.ops:
            if row(op).state:
                row(op).state(self, op)
        head = self.plan.head
        if head and head.kind == "prototype":
            n, f = head.weights.shape
            self.prototypes = dict(
                protos=p.keep("head.prototypes", np.zeros(n * f), np.int16, role="head prototypes"),
                totals=p.keep("head.totals", np.zeros(n * f), np.int32, role="head totals"),
                counts=p.keep("head.counts", np.zeros(n), np.int32, role="head counts"),
            )
            p.head_bias = self.prototypes["counts"]
        elif head:
            self.head_w = p.keep("head.weights", head.weights, np.int16, role="head weights")
            self.head_b = p.head_bias = p.keep("head.bias", head.bias, np.int32, role="head bias")
        if head:
            if self.plan.spare:
                p.names = p.keep("head.names", np.zeros(LABEL_BYTES * self.plan.spare), np.int8, role="names")
        if self.plan.loss != "none":
            self._tracker_buffer = p.keep("exponents", [], np.int16, role="exponents")
            p.clock = p.keep("clock", [0, 0], np.uint32, role="clock")
            p.rng = p.keep("generator", [0x9E3779B9], np.uint32, role="generator")
        if self.plan.sums:
            self._accumulators(layers)

    def _accumulators(self, layers):
        p, keep = self.program, self.plan.keep
        for op in layers:
            weights = self._weights[op.name]
            if weights.nk:
                n = weights.fields["k"].size
                weights.acc = p.keep(
                    f"{op.name}.weights.sum", np.zeros(n), np.int16, role="sum", layer=op.name
                )
                self._folds.append(
                    Record(
                        "fold_weights",
                        dict(
                            k=weights.fields["k"],
                            r=weights.residual,
                            acc=weights.acc,
                            n=n,
                            residual=self.plan.residual,
                            keep=keep,
                        ),
                        op.name,
                    )
                )
            update = self.plan.of(op.name)
            if update and update.bias:
                bias = self._biases[op.name]
                acc = p.keep(
                    f"{op.name}.bias.sum", np.zeros(bias.size // 4), np.int32, role="sum", layer=op.name
                )
                self._bias_accs[op.name] = acc
                self._folds.append(
                    Record("fold_bias", dict(bias=bias, acc=acc, n=bias.size // 4, keep=keep), op.name)
                )
            if row(op).sums:
                self._folds += row(op).sums(self, op)
        for op in self.graph.ops:
            if op not in layers and row(op).sums:
                self._folds += row(op).sums(self, op)
        head = self.plan.head
        self.head_acc = self.head_acc_bias = None
        if head and head.kind == "dense":
            self.head_acc = p.keep(
                "head.weights.sum", np.zeros(head.weights.size), np.int16, role="sum", layer="head"
            )
            self.head_acc_bias = p.keep(
                "head.bias.sum", np.zeros(head.classes), np.int32, role="sum", layer="head"
            )
            self._folds.append(
                Record(
                    "fold_head",
                    dict(
                        w=self.head_w,
                        bias=self.head_b,
                        acc=self.head_acc,
                        acc_bias=self.head_acc_bias,
                        n=head.classes,
                        f=head.weights.shape[1],
                        limit=weight_limit(head.weights.shape[1]),
                        keep=keep,
                    ),
                    "head",
                )
            )
        p.phases["fold"] = self._folds

    def _finish_state(self):
        n = len(self._trackers)
        self._tracker_buffer.size = 2 * n
        self._tracker_buffer.data = np.full(n, -32000, "<i2").tobytes()
        for about in self.program.trained:
            if about["role"] == "exponents":
                about["bytes"] = 2 * n
                about["tensors"] = [name for name, _ in self._trackers]

    def _slot(self):
        """An int32 in the arena for an exponent of this sample."""
        return Buffer("exponent", 4)

    def tracker(self, name):
        """The tracker of the next part of a tensor's error; both time lines share it."""
        key = name, self._turns.get(name, 0)
        self._turns[name] = key[1] + 1
        if key not in self._trackers:
            self._trackers.append(key)
        return self._tracker_buffer.at(2 * self._trackers.index(key))

    # -- loss

    def _input_map(self, x, pixels):
        levels = np.arange(256)
        if pixels:
            real = pixels[0] + (pixels[1] - pixels[0]) * levels / 255
            table = np.clip(np.rint(real / x.scale[0]) + x.zero_point, -128, 127)
        else:
            table = levels - 128
        table = np.roll(table, 128)  # the raw byte is read as int8
        self.emit(
            "lut_fwd",
            dict(y=self.program.input, x=self.program.input, table=self.const(table, np.int8), n=x.size),
            "input",
            phase="map",
        )

    def _loss(self):
        if self.plan.loss == "softmax":
            self._softmax_loss()
        else:
            self._mse_loss()

    def _softmax_loss(self):
        p, head = self.program, self.plan.head
        p.output, p.target = Buffer("logits", 4 * head.classes), Buffer("label", 4)
        {"dense": self._dense_head, "prototype": self._prototype_head}[head.kind](head)

    def _scores(self, head, unit):
        """The loss of logits in this unit."""
        pre = max(
            0, math.ceil(math.log2(2 / (4096 * unit)))
        )  # 32767 steps of unit * 2^pre reach past 16 nats
        mul, e = mantissa(unit * 2.0 ** (pre + 4), 15)
        self.emit(
            "softmax_loss",
            dict(
                logits=self.program.output,
                label=self.program.target,
                exp_table=self.const(EXP_TABLE, np.int16),
                ln_table=self.const(LN_TABLE, np.int16),
                n=head.classes,
                pre=pre,
                mul=mul,
                shift=-e,
            ),
            "head",
            phase="loss",
        )

    def _dense_head(self, head):
        x = self.graph[head.features]
        n, f, s = head.classes, x.size, float(x.scale[0])
        features, logits = self.activation(head.features), self.program.output
        bias_mul, e = mantissa(1 / (16 * s), 15)  # from 2^-16 to s / 4096
        self.emit(
            "head_fwd",
            dict(
                logits=logits,
                x=features,
                w=self.head_w,
                bias=self.head_b,
                n=n,
                f=f,
                zx=x.zero_point,
                bias_mul=bias_mul,
                bias_shift=-e,
            ),
            "head",
        )
        self._scores(head, s / 4096)
        if self._key(head.features) in self.learned:
            scale, e = mantissa(s, 8)
            g, exp = self._first_error(head.features)
            self.emit(
                "head_dx",
                dict(
                    g=g,
                    err=logits,
                    w=self.head_w,
                    sums=self.scratch(4 * f),
                    mask=self._mask_of(head.features),
                    exp=exp,
                    head_exp=self.head_exp,
                    n=n,
                    f=f,
                    scale=scale,
                    scale_exp=e,
                ),
                "head",
                phase="gate",
            )
        u, e = mantissa(s * 4096, 7)
        sums = self.plan.sums
        self.emit(
            "head_dw",
            dict(
                w=self.head_w,
                bias=self.head_b,
                acc=self.head_acc if sums else None,
                acc_bias=self.head_acc_bias if sums else None,
                err=logits,
                x=features,
                lr=self.lr,
                n=n,
                f=f,
                zx=x.zero_point,
                limit=weight_limit(f),
                u=u,
                u_shift=-e,
            ),
            "head",
            phase="head",
        )

    def _prototype_head(self, head):
        """Prototypes follow the features; only what is below them learns by the gradient."""
        p, x = self.program, self.graph[head.features]
        n, f = head.classes, x.size
        protos, counts = self.prototypes["protos"], self.prototypes["counts"]
        unit, norm = Buffer("direction", 2 * f), Buffer("inverse of the norm", 8)
        self.emit(
            "prototype_fwd",
            dict(
                logits=p.output,
                x=self.activation(head.features),
                protos=protos,
                counts=counts,
                unit=unit,
                norm=norm,
                n=n,
                f=f,
                zx=x.zero_point,
            ),
            "head",
        )
        self._scores(head, COSINES / 16384)
        if self._key(head.features) in self.learned:
            scale, e = mantissa(COSINES, 8)
            g, exp = self._first_error(head.features)
            self.emit(
                "prototype_dx",
                dict(
                    g=g,
                    err=p.output,
                    protos=protos,
                    unit=unit,
                    norm=norm,
                    sums=self.scratch(4 * f),
                    mask=self._mask_of(head.features),
                    exp=exp,
                    head_exp=self.head_exp,
                    n=n,
                    f=f,
                    scale=scale,
                    scale_exp=e,
                ),
                "head",
                phase="gate",
            )
        for phase, window in (("head", WINDOW), ("enroll", ENROLLED)):
            self.emit(
                "prototype_add",
                dict(self.prototypes, label=p.target, unit=unit, n=n, f=f, window=window),
                "head",
                phase,
            )

    def _mse_loss(self):
        p, name = self.program, self.graph.outputs[0]
        y = self.graph[name]
        p.output, p.target = self.activation(name), Buffer("target", y.size)
        self.emit("mse_loss", dict(y=p.output, target=p.target, n=y.size), "output", phase="loss")
        g, exp = self._first_error(name)
        self.emit(
            "mse_dx",
            dict(
                g=g,
                y=p.output,
                target=p.target,
                mask=self._mask_of(name),
                exp=exp,
                head_exp=self.head_exp,
                n=y.size,
                scale_exp=round(2 * math.log2(y.scale[0])),
            ),
            "output",
            phase="gate",
        )

    def _first_error(self, name):
        name = self._key(name)
        self._errors[name] = Error(0, None, Buffer(f"error of {name}", self.graph[name].size), self._slot())
        return self._errors[name].buffer, self._errors[name].exp

    def _key(self, name):
        return self.alias.get(name, name)

    def _mask_of(self, name):
        op = self.graph.producer(self._key(name))
        return self.mask(self._key(name)) if op is not None and row(op).masks else None

    # -- backward

    def _backward(self):
        reached = self._reached()
        for op in reached:
            for _, name in self._inputs(op):
                if name in self.learned:
                    self._errors.setdefault(name, Error()).waiting += 1
        for op in reached:
            out, update = self._key(op.outputs[0]), self._update_of(op)
            if update and update.bias:
                self._write(op, row(op).update_bias)
            for index, name in self._inputs(op):
                if name in self.learned:
                    self._contribute(op, index, name, *self.error(out))
            if update and update.channels:  # after the weights were used for the error below
                self._write(op, row(op).update)
                if op.name in self.open:
                    reserve.pack(self, op)

    def _update_of(self, op):
        return self.plan.of(op.name) or reserve.update_of(self, op)

    def _write(self, op, rule):
        """Steps that write what is trained, which lies in a pool where a board chooses."""
        self._updating = reserve.pooled(self, op, Weights) if op.name in self.open else None
        rule(self, op)
        self._updating = None

    def _reached(self):
        """Operators that the loss depends on and that have something to learn at or below them, last first."""
        live, found = set(self._errors), []
        for op in reversed(self.graph.ops):
            if op.kind == "reshape" or op.outputs[0] not in live or op.outputs[0] not in self.learned:
                continue
            found.append(op)
            live.update(n for _, n in self._inputs(op))
        return found

    def _contribute(self, op, index, name, gy, gy_exp):
        """One consumer's part of a tensor's error; the last one writes it out, masked."""
        error = self._errors[name]
        if error.buffer is not None:
            raise ModelError(
                f"tensor {name} feeds both the loss and layer {op.name}: cut the model before {op.name}"
            )
        error.waiting -= 1
        c = row(op).gradient(self, op, index)
        last = error.waiting == 0
        if c.kernel is None and not last and error.partial is None:
            error.partial = (gy, gy_exp, c.m, c.m_exp)
            return
        if c.kernel is None:
            ih, iw, ic = image(self.graph[name].shape)
            c.kernel = "scale_dx"
            c.values = dict(
                row=self.scratch(4 * ic),
                ih=ih,
                iw=iw,
                ic=ic,
                yh=ih,
                yw=iw,
                yc=ic,
                top=0,
                left=0,
                first=0,
                m=c.m,
                m_exp=c.m_exp,
            )
        add, add_exp, m, m_exp = error.partial or (None, None, 0, 0)
        g = Buffer(f"error of {name}" if last else f"part of the error of {name}", self.graph[name].size)
        exp = self._slot()
        self.emit(
            c.kernel,
            dict(
                dict(gy=gy, gy_exp=gy_exp),
                **c.values,
                g=g,
                mask=self._mask_of(name) if last else None,
                add=add,
                add_exp=add_exp,
                add_mul=m,
                add_shift=m_exp,
                exp=exp,
                track=self.tracker(name),
                head_exp=self.head_exp,
            ),
            op.name,
            phase="backward",
        )
        if last:
            error.buffer, error.exp = g, exp
            self._inspect(name)
        else:
            error.partial = (g, exp, 128, -7)

    # -- Fisher information

    def _study(self, pixels):
        """A second time line on which nothing is trained: errors down to the first candidate, their channels' sums."""
        main, plan, buffers, self._turns = self.program, self.plan, self._buffers, {}
        self.program = line = Program(_const=main._const)
        self.plan = replace(plan, updates=())
        layers = [op for op in self.graph.ops if op.name in (self.open or plan.study)]
        opened, self.open = self.open, {}
        for op in layers:
            self._studied.setdefault(self._key(op.inputs[0]), []).append(op.name)
        self._buffers, self._masks, self._errors = {}, {}, {}
        self.head_exp, self.learned = self._slot(), self._below()
        self._sums = self._sums_of(main, layers)
        line.input = self.activation(self.graph.inputs[0])
        self._input_map(self.graph[self.graph.inputs[0]], pixels)
        self._forward()
        self._loss()
        self._backward()
        main.study = line
        self.program, self.plan, self._buffers, self.open = main, plan, buffers, opened

    def _sums_of(self, main, layers):
        """{layer: its input channels, the places of their sums and of these's exponent}."""
        counts = [geometry(self.graph, op)["ic"] for op in layers]
        main.candidates = {op.name: c for op, c in zip(layers, counts)}
        main.fisher = Buffer("fisher", 4 * (sum(counts) + len(counts)))
        return {
            op.name: (c, main.fisher.at(4 * sum(counts[:i])), main.fisher.at(4 * (sum(counts) + i)))
            for i, (op, c) in enumerate(zip(layers, counts))
        }

    def _inspect(self, name):
        """The error of a tensor is there: what it tells about the layers that read it."""
        x, (g, exp) = self.graph[name], self.error(name)
        for layer in self._studied.get(name, ()):
            c, f, f_exp = self._sums[layer]
            self.emit(
                "tinytrain_fisher",
                dict(
                    f=f,
                    f_exp=f_exp,
                    x=self.activation(name),
                    g=g,
                    g_exp=exp,
                    sums=self.scratch(4 * c),
                    n=x.size // c,
                    ic=c,
                    zx=x.zero_point,
                ),
                layer,
                phase="backward",
            )

    # -- clock

    def _clock(self):
        rate = self.plan.rate / self.plan.accumulate
        if self.plan.residual == 0 and not self.plan.sums:
            rate /= 2  # rounding noise of single int8 steps: half the rate costs least
        m, e = mantissa(rate, 8)
        p = self.program
        if any("lr" in step.values for _, step in p.timeline()):  # prototypes alone learn without a rate
            self.emit(
                "begin_step",
                dict(lr=self.lr, clock=p.clock, cosine=self.const(COSINE, np.int16), rate=m, rate_shift=-e),
                "clock",
                phase="begin",
            )
        self.emit("end_step", dict(clock=p.clock), "clock", phase="end")
        out = self.graph[self.graph.outputs[0]]
        units = {"dense": out.scale[0] / 4096, "prototype": COSINES / 16384}
        unit = units[self.plan.head.kind] if self.plan.head else out.scale[0]
        count = self.plan.head.classes if self.plan.head else out.size
        p.header.update(
            loss_kind=LOSSES.index(self.plan.loss),
            classes=count - self.plan.spare,
            output_count=count,
            output_scale=unit,
            output_zero=0 if self.plan.head else out.zero_point,
            accumulate=self.plan.accumulate,
        )

    def _no_training(self):
        p = self.program
        out = self.graph[self.graph.outputs[0]]
        p.output = self.activation(self.graph.outputs[0])
        p.clock = p.keep("clock", [0, 0], np.uint32, role="clock")
        p.rng = p.keep("generator", [0], np.uint32, role="generator")
        p.header.update(
            loss_kind=0,
            classes=out.size,
            output_count=out.size,
            output_scale=out.scale[0],
            output_zero=out.zero_point,
            accumulate=1,
        )
