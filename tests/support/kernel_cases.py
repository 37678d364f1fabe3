"""Random records of every kernel from the one table: small odd shapes, extreme values, absent tensors."""

import struct
import subprocess

import numpy as np
from trimtab.format import ARENA, CONST, LIMITS, NULL, OPCODES, RECORDS, SPACE_SHIFT, STATE, fields
from trimtab.kernels import plain
from trimtab_tools.boards import native

NAMES = [row[0] for row in RECORDS if row[0] in plain().functions]  # without the kernels of methods left out
SPECS = {row[0]: fields(row[1]) for row in RECORDS}
SCRATCH = ("row", "sums", "plane", "scratch")  # their content after a call is nobody's business
BYTES = {"b": 1, "h": 2, "x": 2, "i": 4}


class Case:
    """One record with the memory that it names. `hostile`: any data, any numbers that loading lets pass.

    Layers have at most `channels` channels: the loops of a PC take sixteen at once and want more than others.
    """

    def __init__(self, name, seed, hostile=False, channels=6):
        self.name = name
        self.channels = channels
        self.rng = np.random.default_rng([seed, OPCODES[name], hostile])
        self.hostile = hostile
        self.numbers = self._numbers()
        self.spaces = [bytearray() for _ in range(3)]
        self.places = {}
        self.data = {}
        words = [self._place(*spec) if spec[1] else self.numbers[spec[0]] for spec in SPECS[name]]
        self._part_weights()
        self._alias(words)
        self.program = struct.pack("<i%di" % len(words), OPCODES[name], *words)

    def _pick(self, *choices):
        return choices[self.rng.integers(len(choices))]

    def _between(self, low, high):
        ends = self.rng.random() < 0.1
        return int(self._pick(low, high) if ends else self.rng.integers(low, high + 1))

    # -- numbers

    def _numbers(self):
        names = [spec[0] for spec in SPECS[self.name] if not spec[1]]
        values = {}
        if "kh" in names:
            values.update(self._geometry())
        if "yh" in names:
            values.update(self._window())
        if "s3" in names:
            values.update(self._moved())
        elif "n2" in names:
            values.update(self._repeated())
        for name in names:
            if name not in values:
                values[name] = self._number(name)
        if "nk" in names:
            values["nk"] = self._between(1, values["oc" if self.name.startswith("depthwise") else "ic"])
        if "norms" in names:
            values["oc"] = values["norms"] * values["norm"]
        for divisor, whole in (("part", "ic"), ("parts", "oc")):
            if divisor in names:
                values[divisor] = self._pick(
                    *(d for d in range(1, values[whole] + 1) if values[whole] % d == 0)
                )
        if "lo" in names and not self.hostile:
            values["lo"], values["hi"] = self._pick((-128, 127), sorted((values["lo"], values["hi"])))
            if "zy" in names and self.rng.random() < 0.3:
                values["zy"] = values["lo"]  # as behind a ReLU
        return values

    def _number(self, name):
        if self.hostile and name in LIMITS and name not in GEOMETRY + ("residual",):
            return int(self.rng.integers(*LIMITS[name], endpoint=True))
        if name in CHOICES:
            return self._pick(*CHOICES[name])
        return self._between(*(NUMBERS.get((self.name, name)) or NUMBERS[name]))

    def _geometry(self):
        v = {"sh": self._between(1, 3), "sw": self._pick(1, 2)}
        most = 14 if self.rng.random() < 0.1 else 7  # fast loops are unrolled
        v.update(ih=self._between(1, most), iw=self._between(1, most))
        if self.rng.random() < 0.04:
            v.update(ih=self._between(1, 4), iw=self._between(60, 130))  # more than loops hold at once
        for size, k, out, stride, pad in (("ih", "kh", "oh", "sh", "pt"), ("iw", "kw", "ow", "sw", "pl")):
            v[k] = self._between(1, min(7, v[size] + 2))
            v[pad] = self._between(0, v[k] - 1)
            after = self._between(max(0, v[k] - v[size] - v[pad]), max(v[k] - 1, v[k] - v[size] - v[pad]))
            v[out] = (v[size] + v[pad] + after - v[k]) // v[stride] + 1
            if self.rng.random() < 0.2:
                v[out] = self._between(1, v[out])  # inputs that no output sees
        v["ic"] = self._between(1, self.channels)
        pooled = self.name in ("avg_pool_fwd", "max_pool_fwd", "avg_dx", "max_dx")
        depthwise = self.name.startswith("depthwise")
        v["oc"] = (
            v["ic"]
            if pooled
            else v["ic"] * self._between(1, 3)
            if depthwise
            else self._between(1, self.channels)
        )
        if depthwise and self.rng.random() < 0.3:  # of one size, so that it may work in place
            v.update(sh=1, sw=1, oh=v["ih"], ow=v["iw"], kh=3, kw=3, pt=1, pl=1, oc=v["ic"])
        return v

    def _moved(self):
        """A window of a tensor of four axes, which lie in any order in the other one."""
        n = [self._between(1, 4) for _ in range(4)]
        if self.rng.random() < 0.05:
            n[self.rng.integers(4)] = 70
        first = [self._pick(0, self._between(0, size - 1)) for size in n]
        count = [size - f for size, f in zip(n, first)]
        steps, reach = [0] * 4, 1
        for k in self.rng.permutation(4):
            steps[k] = reach * self._pick(1, 1, 2)
            reach = 1 + sum((c - 1) * s for c, s in zip(count, steps))
        v = {
            f"{name}{k}": row[k] for name, row in (("s", steps), ("f", first), ("c", count)) for k in range(4)
        }
        sizes = n if self.name == "move_dx" else count
        v.update({f"n{k}": sizes[k] for k in range(4)}, size=reach + self._pick(0, 3))
        return {**v, "ih": n[0] * n[1], "iw": n[2], "ic": n[3]}

    def _repeated(self):
        """(n2, c2) repeats over (n, c), and so does the error (ih * iw, ic) of mul_dx."""

        def part(whole):
            return self._pick(1, whole, self._pick(*(d for d in range(1, whole + 1) if whole % d == 0)))

        v = {"n": self._between(1, 12), "c": self._between(1, 6)}
        if self.rng.random() < 0.05:
            v[self._pick("n", "c")] = 300  # more than loops hold at once
        v.update(n2=part(v["n"]), c2=part(v["c"]), gn=part(v["n"]), ic=part(v["c"]))
        v["iw"] = part(v["gn"])
        return {**v, "ih": v["gn"] // v["iw"]}

    def _window(self):
        v, most = {}, self._pick(0, 3, 3)
        for size, first, whole in (("ih", "top", "yh"), ("iw", "left", "yw"), ("ic", "first", "yc")):
            v[size], v[first] = self._between(1, 5), self._between(0, most)
            v[whole] = v[size] + v[first] + self._between(0, most)
        return v

    # -- tensors

    def _place(self, name, kind, extent, _bound):
        n = 1
        for factor in extent:
            n *= int(factor) if factor.isdigit() else self.numbers[factor]
        if "?" in kind and self._absent(name):
            return NULL
        data = self._bytes(name, kind[-1], n)
        space = self._pick(ARENA, STATE) if "!" in kind else self._pick(ARENA, STATE, CONST)
        buffer = self.spaces[space]
        align = 4 if kind[-1] in "hix" else 1  # masks and bytes lie at any offset
        buffer += bytes(-len(buffer) % align)
        self.places[name] = (space, len(buffer), len(data))
        buffer += data
        return space << SPACE_SHIFT | len(buffer) - len(data)

    def _absent(self, name):
        if name == "r":
            return self.numbers["residual"] == 0
        if name in PAIRS and PAIRS[name] in self.data:
            return self.data[PAIRS[name]] is None
        absent = name != "rng" and self.rng.random() < 0.3
        self.data[name] = None if absent else ()
        return absent

    def _bytes(self, name, letter, n):
        if letter == "m":
            return self.rng.bytes((n + 7) // 8)
        if letter == "r":
            return self.rng.bytes((n * self.numbers["residual"] + 7) // 8)
        if letter == "x":
            bound = self.numbers["oc" if self.name.startswith("depthwise") else "ic"]
            return np.sort(self.rng.permutation(bound)[:n]).astype("<u2").tobytes()
        if self.hostile:
            return self.rng.bytes(n * BYTES[letter])
        make = DATA.get((self.name, name)) or DATA.get(name) or DATA[letter]
        return np.asarray(make(self, n)).astype("<i%d" % BYTES[letter]).tobytes()

    def _part_weights(self):
        """A conv's frozen weights where a plane trains: zeros, or what keeps the sum within int8."""
        if (
            not {"w", "k"} <= set(self.places)
            or self.name.startswith("depthwise")
            or "nk" not in self.numbers
        ):
            return
        w, k = (self._array(name) for name in "wk")
        if self.rng.random() < 0.5:
            w >>= 1
            k >>= 1
        else:
            kept = self._array("kept", "<u2") if "kept" in self.places else range(self.numbers["nk"])
            w.reshape(-1, self.numbers["ic"])[:, list(kept)] = 0

    def _array(self, name, dtype=np.int8):
        space, offset, size = self.places[name]
        return np.frombuffer(self.spaces[space], dtype, size // np.dtype(dtype).itemsize, offset)

    def _alias(self, words):
        """Some outputs lie where an input of the same size lies, as the memory planner does it."""
        pairs = [p for p in IN_PLACE.get(self.name, ()) if self._may_share(*p)]
        if pairs and self.rng.random() < 0.4:
            written, read = self._pick(*pairs)
            names = [spec[0] for spec in SPECS[self.name]]
            words[names.index(written)] = words[names.index(read)]

    def _may_share(self, written, read):
        if read not in self.places or self.places[read][0] == CONST:
            return False
        needs_plane = self.name.startswith("depthwise") and read != "add"
        if needs_plane and ("plane" not in self.places or self.numbers["ic"] != self.numbers["oc"]):
            return False
        return self.places[written][2] == self.places[read][2]

    def result(self, arena, state):
        """What a call may leave behind, without its scratch."""
        left = [bytearray(arena), bytearray(state)]
        for name in SCRATCH:
            if name in self.places:
                space, offset, size = self.places[name]
                left[space][offset : offset + size] = bytes(size)
        return bytes(left[0]), bytes(left[1])


def _int8(low, high):
    """Random, or all one extreme, or mostly zeros."""

    def make(case, n):
        style = case.rng.integers(8)
        values = case.rng.integers(low, high, n, endpoint=True)
        if style < 2:
            return np.full(n, (low, high)[style])
        return values * (case.rng.random(n) < 0.2) if style == 2 else values

    return make


def _uniform(low, high):
    return lambda case, n: case.rng.integers(low, high, n, endpoint=True)


def _edged(low, high):
    """Random over all magnitudes, with both ends."""

    def make(case, n):
        spread = case.rng.integers(low, high, n, endpoint=True) >> case.rng.integers(0, 31, n)
        ends = case.rng.choice([low, high], n)
        return np.where(case.rng.random(n) < 0.15, ends, np.clip(spread, low, high))

    return make


def _moderate(usual, extreme):
    """Extremes hide everything else behind saturated outputs, so they are rare."""
    return lambda case, n: (extreme if case.rng.random() < 0.2 else usual)(case, n)


def _exp_table(case, n):
    if case.rng.random() < 0.5:
        return case.rng.integers(0, 32768, n)
    return np.rint(32767 * np.exp(-np.arange(n) / 16))


def _multipliers(case, n):
    style = case.rng.integers(3)
    return [np.full(n, 1 << 30), np.full(n, (1 << 31) - 1), case.rng.integers(1 << 30, 1 << 31, n)][style]


def _channel_scales(case, n):
    """QAS: 8-bit mantissa, 128 + shift above it; 0 for a dead channel. As int16."""
    u = case.rng.integers(128, 256, n) | case.rng.integers(100, 150, n) << 8
    return (np.where(case.rng.random(n) < 0.1, 0, u) + 32768) % 65536 - 32768


def _errors(case, n):
    """p - y in Q15: the magnitudes add up to 2^16 at most."""
    if case.rng.random() < 0.1:
        return np.zeros(n)
    p = case.rng.dirichlet(np.ones(n) * 0.5) * 32768
    p = np.rint(p).astype(int)
    p[case.rng.integers(n)] -= 32768
    return np.clip(p, -32768, 32767)


def _norm_stats(case, n):
    """1 / sigma of groups of a norm: 16 bits and an exponent; 0 where all were alike."""
    words = case.rng.integers(1 << 14, 1 << 16, n) << 8 | case.rng.integers(5, 45, n)
    return np.where(case.rng.random(n) < 0.1, 0, words)


def _directions(case, n):
    """Rows of unit length in Q14, some of them zero."""
    rows = case.rng.standard_normal((n // case.numbers["f"], case.numbers["f"])) ** case.rng.choice([1, 5])
    rows *= 16384 / np.linalg.norm(rows, axis=1, keepdims=True) * (case.rng.random((len(rows), 1)) < 0.9)
    return np.rint(rows).ravel()


GEOMETRY = (
    "ih",
    "iw",
    "oh",
    "ow",
    "kh",
    "kw",
    "sh",
    "sw",
    "pt",
    "pl",
    "nk",
    "yh",
    "yw",
    "top",
    "left",
    "first",
)
NUMBERS = {
    "n": (1, 9),
    "f": (1, 9),
    "rows": (1, 4),
    "ic": (1, 5),
    "oc": (1, 5),
    "ih": (1, 4),
    "iw": (1, 4),
    "nk": (1, 1),
    "zx": (-128, 127),
    "zx2": (-128, 127),
    "zy": (-128, 127),
    "lo": (-128, 127),
    "hi": (-128, 127),
    "once": (0, 1),
    "words": (1, 1200),
    "mult": (1 << 30, 0x7FFFFFFF),
    "mult2": (1 << 30, 0x7FFFFFFF),
    "mult_y": (1 << 30, 0x7FFFFFFF),
    "shift": (-12, 0),
    "shift2": (-3, 0),
    "shift_y": (-24, -12),
    "bias_mul": (0, 32767),
    "bias_shift": (0, 40),
    "mul": (1, 65535),
    "pre": (0, 10),
    "m_shift": (8, 15),
    "m": (-32768, 32767),
    "m_exp": (-20, 20),
    "add_mul": (-32768, 32767),
    "add_shift": (-20, 20),
    "scale": (0, 255),
    "scale_exp": (-30, 10),
    "u": (0, 255),
    "u_shift": (-10, 20),
    "limit": (1, 32767),
    "rate": (0, 255),
    "rate_shift": (0, 30),
    ("softmax_loss", "shift"): (0, 24),
    ("add_fwd", "n"): (1, 400),  # cores share them by 64
    ("lut_fwd", "n"): (1, 400),
    "oh": (1, 9),
    "ow": (1, 9),
    "norm": (1, 5),
    "norms": (1, 3),
    "part": (1, 1),
    "parts": (1, 1),
    "relu": (0, 1),
    "bound": (1, 127),
    "u_gamma": (100 << 8, 150 << 8),
    "u_beta": (100 << 8, 150 << 8),
    ("tinytl_conv_fwd", "pre"): (0, 3),
    "keep": (0, 255),
    "window": (2, 40),
}
CHOICES = {"sign": (-1, 1), "sign2": (-1, 1), "residual": (0, 4, 8), "fill": (-128, 0, 127, 256)}
IN_PLACE = {
    "add_fwd": [("y", "x"), ("y", "x2")],
    "mul_fwd": [("y", "x")],
    "sum_fwd": [("y", "x")],
    "prelu_fwd": [("y", "x")],
    "prelu_dx": [("g", "gy"), ("g", "x"), ("g", "add")],
    "mul_dx": [("g", "add")],
    "move_dx": [("g", "add")],
    "lut_fwd": [("y", "x")],
    "softmax_fwd": [("y", "x")],
    "requantize_fwd": [("y", "x")],
    "depthwise_fwd": [("y", "x")],
    "tinytl_add_fwd": [("y", "x")],
    "mobiletl_fwd": [("y", "x")],
    "depthwise_dx": [("g", "gy"), ("g", "add")],
    "conv_dx": [("g", "add")],
    "avg_dx": [("g", "add")],
    "max_dx": [("g", "add")],
    "scale_dx": [("g", "gy"), ("g", "add")],
    "lut_dx": [("g", "gy"), ("g", "x"), ("g", "add")],
}
PAIRS = {"add_exp": "add", "acc_bias": "acc"}  # absent together
DATA = {
    "b": _int8(-128, 127),
    "h": _edged(-32768, 32767),
    "i": _edged(-(1 << 31), (1 << 31) - 1),
    "w": _int8(-127, 127),
    "k": _int8(-127, 127),
    "gy": _int8(-127, 127),
    "add": _int8(-127, 127),
    "mult": _multipliers,
    "shift": _moderate(_uniform(-9, -5), _uniform(-31, 8)),
    "u": _channel_scales,
    "err": _errors,
    "gy_exp": _uniform(-40, 20),
    "add_exp": _uniform(-60, 40),
    "head_exp": _uniform(-30, 30),
    "track": _edged(-32000, 32000),
    "lr": lambda case, n: [case._between(0, 255), case._between(-5, 40)],
    "bias": _edged(-(1 << 29), 1 << 29),
    "acc_bias": _edged(-(1 << 29), 1 << 29),
    "rng": _uniform(1, (1 << 31) - 1),
    "label": lambda case, n: [case._between(0, case.numbers["n"])],
    "protos": _directions,
    "unit": _directions,
    "totals": _edged(-(1 << 30), 1 << 30),
    "counts": _uniform(-10, 50),
    "norm": lambda case, n: [
        case._pick(0, 1 << 14, 1 << 15, case._between(1 << 14, 1 << 15)),
        case._between(0, 14),
    ],
    "clock": lambda case, n: [case._between(0, 99), case._pick(0, 1, 50, 100, 1 << 30)],
    "cosine": _uniform(0, 32767),
    "exp_table": _exp_table,
    "ln_table": lambda case, n: np.rint(1024 * np.log1p(np.arange(n) / 128)),
    ("head_fwd", "w"): _edged(-32768, 32767),
    ("head_dx", "w"): _edged(-32768, 32767),
    ("head_dw", "w"): _edged(-32768, 32767),
    ("fold_head", "w"): _edged(-32768, 32767),
    ("softmax_fwd", "table"): lambda case, n: np.exp((np.arange(n) - 255) * case.rng.random()) * 0x7FFFFFFF,
    "gain": _moderate(_edged(-(1 << 29), 1 << 29), _edged(-(1 << 31), (1 << 31) - 1)),
    ("mobiletl_gain_dw", "acc"): _edged(-(1 << 29), 1 << 29),
    ("mobiletl_gain_dw", "gain"): _edged(-(1 << 29), 1 << 29),
    ("bias_dw", "acc"): _edged(-(1 << 29), 1 << 29),
    ("fold_bias", "acc"): _edged(-(1 << 29), 1 << 29),
    ("tinytrain_fisher", "f"): _edged(0, 1 << 30),
    "f_exp": _moderate(_uniform(-60, -20), _edged(-(1 << 20), 80)),
    "g_exp": _uniform(-40, 10),
    "affine": _edged(-(1 << 24), 1 << 24),
    "stats": _norm_stats,
    ("tinytl_norm_dx", "sums"): _edged(-(1 << 30), 1 << 30),
    ("conv_fwd", "bias"): _moderate(_uniform(-4096, 4095), _edged(-(1 << 31), (1 << 31) - 1)),
    ("depthwise_fwd", "bias"): _moderate(_uniform(-4096, 4095), _edged(-(1 << 31), (1 << 31) - 1)),
}


def run_c(case, tier=None):
    """What the C kernels on this machine return, and the memory that they leave; by default plain loops."""
    tier = tier or native.plain_loops()
    arena, state = (tier.alloc(len(space)) for space in case.spaces[:2])
    arena[:], state[:] = case.spaces[:2]
    mem = tier.bind(arena, state, bytes(case.spaces[2]), case.program)
    value = tier.functions[case.name](mem, 0)
    return value, case.result(arena, state)


def replayed(command, cases):
    """[(value, result)] of the program that kernel_replay.c makes."""
    calls = b""
    for case in cases:
        spaces = [*map(bytes, case.spaces), case.program]
        calls += struct.pack("<5I", OPCODES[case.name], *map(len, spaces)) + b"".join(spaces)
    done = subprocess.run(command, input=calls, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()[:2000]
    out, results = done.stdout, []
    for case in cases:
        arena, state = (len(space) for space in case.spaces[:2])
        value, out = struct.unpack_from("<i", out)[0], out[4:]
        results.append((value, case.result(out[:arena], out[arena : arena + state])))
        out = out[arena + state :]
    return results


def check(cases, data):
    """The results file against this machine's kernels."""
    for case in cases:
        arena, state = (len(space) for space in case.spaces[:2])
        value, data = struct.unpack_from("<i", data)[0], data[4:]
        assert (value, case.result(data[:arena], data[arena : arena + state])) == run_c(case), case.name
        data = data[arena + state :]
    assert not data
