"""TinyTrain on the board: the board chooses which layers and channels train; the package reserved memory for
it.

The section `choice` has the words of HEAD, then for each candidate its row (fisher.py), the number of its
records and their offsets. The trained state holds what was chosen, a bit for each channel of each candidate.
Kernels never read these bits: they are checked, index lists are written behind the records, where no record
can write, and the records are patched to refer to them. A conv's plane is added to the frozen weights, so it
starts as zeros; a depthwise plane replaces them, so it starts as a copy.
"""

import struct

from . import fisher
from .fisher import BIAS, CHANNELS, COUNT, ERROR, INPUTS, KEPT, PLANE, RESIDUAL, ROW, STATE, up
from .format import ARENA, CONST, NULL, OFFSET_MASK, PROGRAM, RECORDS, SPACE_SHIFT, fields
from .format import STATE as STATE_SPACE
from .package import PackageError, check_record

HEAD = ("candidates", "planes", "planes_bytes", "kept", "kept_bytes", "bits", "bits_bytes", "most_macs")
DAMAGED = "the package's candidates do not fit the rest of it: compile it again"
# The operands that a choice sets in a candidate's records. Kernels of SWITCHED run only for chosen
# candidates.
PATCHED = {
    "conv_fwd": ("k", "kept", "nk", "bias"),
    "depthwise_fwd": ("k", "kept", "nk", "bias"),
    "conv_dx": ("k", "kept", "nk"),
    "depthwise_dx": ("k", "kept", "nk"),
    "gather": ("y", "kept"),
    "conv_dw": ("k", "r", "x"),
    "depthwise_dw": ("k", "r", "x", "gy", "u"),
    "tinytrain_hold": ("k", "r", "kept"),
    "bias_dw": ("bias",),
}
SWITCHED = ("gather", "conv_dw", "depthwise_dw", "tinytrain_hold", "bias_dw")


def _off(mem, off):
    """The kernel of records that are switched off."""
    return 0


def parse(data):
    """(head, rows, offsets of each candidate's records) from the section's bytes."""
    words = struct.unpack("<%dI" % (len(data) // 4), bytes(data)[: len(data) & ~3])
    if len(words) < len(HEAD):
        raise PackageError(DAMAGED)
    head, at = dict(zip(HEAD, words)), len(HEAD)
    rows, records = [], []
    for _ in range(min(head["candidates"], len(words))):
        row = words[at : at + len(ROW) + 1]
        at += len(ROW) + 1
        if (
            len(row) <= len(ROW)
            or at + row[-1] > len(words)
            or 0 in row[:2]
            or not 0 < row[COUNT] <= row[CHANNELS] <= 65535
        ):
            raise PackageError(DAMAGED)
        if not 0 < row[INPUTS] <= row[CHANNELS]:
            raise PackageError(DAMAGED)
        rows.append(row[:-1])
        records.append(words[at : at + row[-1]])
        at += row[-1]
    return head, rows, records


def with_room(package, program):
    """A copy of the records with room for the index lists of all candidates behind them."""
    rows = parse(package.section("choice"))[1]
    return bytearray(program) + bytearray(sum([3 * up(2 * row[COUNT]) for row in rows]))


def chosen_of(bits, rows):
    """{candidate: its chosen channels} from the state's bits; PackageError where no board wrote such bits."""
    found, at = {}, 0
    for i, row in enumerate(rows):
        channels = [c for c in range(row[CHANNELS]) if bits[at + (c >> 3)] >> (c & 7) & 1]
        if channels and len(channels) != row[COUNT]:
            raise PackageError(
                "the saved choice of channels does not fit the package: remove its .s0 and .s1 files"
            )
        if channels:
            found[i] = channels
        at += (row[CHANNELS] + 7) >> 3
    return found


def bits_of(chosen, rows):
    """The state's bits from {candidate: its chosen channels}."""
    bits = b""
    for i, row in enumerate(rows):
        some = bytearray((row[CHANNELS] + 7) >> 3)
        for c in chosen.get(i, ()):
            some[c >> 3] |= 1 << (c & 7)
        bits += some
    return bits


def places(rows, chosen):
    """{candidate: offsets of plane, residual, bias in their pool and of input, error in theirs}."""
    found, state, kept = {}, 0, 0
    for i in sorted(chosen):
        plane, residual, bias = [up(rows[i][field]) for field in STATE]
        x, error = [up(rows[i][field]) for field in KEPT]
        found[i] = (state, state + plane, state + plane + residual, kept, kept + x)
        state += plane + residual + bias
        kept += x + error
    return found


class Choice:
    """What a net trains besides its head. bind() gives the patched records to the kernels."""

    def __init__(self, net, program, const, bind):
        package = net.package
        head, self.rows, records = parse(package.section("choice"))
        self.net, self.package, self.head, self.program, self.bind = net, package, head, program, bind
        sums = 4 * (sum([row[INPUTS] for row in self.rows]) + len(self.rows))
        for ref, size, space, limit in (
            (head["planes"], head["planes_bytes"], STATE_SPACE, package.state_bytes),
            (head["bits"], head["bits_bytes"], STATE_SPACE, package.state_bytes),
            (head["kept"], head["kept_bytes"], ARENA, package.arena_bytes),
            (package.fisher, sums, ARENA, package.arena_bytes),
        ):
            if ref >> SPACE_SHIFT != space or (ref & OFFSET_MASK) + size > limit:
                raise PackageError(DAMAGED)
        self.bits = net.span(head["bits"], head["bits_bytes"])
        self.planes = net.span(head["planes"], head["planes_bytes"])
        line = {at: i for i, at in enumerate(net.offsets)}
        if len(self.bits) != len(bits_of({}, self.rows)) or [
            at for some in records for at in some if at not in line
        ]:
            raise PackageError(DAMAGED)
        self.records = [sorted([(line[at], at) for at in some]) for some in records]
        self.kernels = list(net.functions)
        self.sizes = package.sizes(const, len(program))
        self.lists = {CONST: const, PROGRAM: program}
        self.behind = package.bytes_of("program")
        self.chosen = {}

    def choose(self, samples, epochs):
        """Train the head on the samples, judge the candidates, and start the chosen ones from the frozen
        weights.

        A prototype head is enrolled instead, and moved copies of the samples judge the candidates.
        """
        net, judged = self.net, samples
        self.take({})
        if net.prototypes:
            from .prototypes import copies

            net.enroll(samples)
            judged = copies(net, samples)
        else:
            net.begin(epochs * len(samples))
            for _ in range(epochs):
                for x, y in samples:
                    net.train(x, y)
        found = fisher.study(net, judged, [row[INPUTS] for row in self.rows])
        picked = fisher.pick(found, self.rows, self.fits)
        self.take({i: fisher.strongest(found[i][1], self.rows[i]) for i in picked})
        net.begin(0)
        return self.chosen

    def fits(self, price):
        state, kept, _, macs = price
        return (
            state <= self.head["planes_bytes"]
            and kept <= self.head["kept_bytes"]
            and macs <= self.head["most_macs"]
        )

    def take(self, chosen):
        """From now on train these channels, {candidate: indices}; their planes start anew."""
        self.bits[:] = bits_of(chosen, self.rows)
        self.planes[:] = bytes(len(self.planes))
        self.apply()
        for i, where in places(self.rows, chosen).items():
            self._start(i, chosen[i], where)

    def apply(self):
        """Patch the records and switch them on or off as the state's bits say."""
        chosen = chosen_of(self.bits, self.rows)
        if chosen and not self.fits(fisher.cost(self.rows, list(chosen))):
            raise PackageError(
                "the saved choice of layers does not fit the package: remove its .s0 and .s1 files"
            )
        self.chosen, where, end = chosen, places(self.rows, chosen), self.behind
        for i, records in enumerate(self.records):
            given = None
            if i in chosen:
                given, end = self._given(i, where[i], end)
            for _, at in records:
                self._patch(at, given)
        self._switch()
        self.net.mem = self.bind()

    def _given(self, i, where, end):
        """(the operands of a chosen candidate's records, end of its index lists)."""
        row, channels = self.rows[i], self.chosen[i]
        k, r, bias = [self.head["planes"] + n for n in where[:3]]
        x, error = [self.head["kept"] + n for n in where[3:]]
        many = row[CHANNELS] // row[INPUTS] if row[ERROR] else 1
        factors = [0] * len(channels)
        if row[ERROR]:
            factors = self._factors(i, channels)
        refs = []
        for numbers in (channels, [c // many for c in channels], factors):
            struct.pack_into("<%dH" % len(numbers), self.program, end, *numbers)
            refs.append(PROGRAM << SPACE_SHIFT | end)
            end += up(2 * len(numbers))
        return dict(
            k=k,
            r=r if row[RESIDUAL] else NULL,
            bias=bias,
            x=x,
            gy=error,
            kept=refs[0],
            nk=len(channels),
            u=refs[2],
            gathers=[(x, refs[1]), (error, refs[0])],
        ), end

    def _patch(self, at, given):
        name, specs, rules = self._kind(at)
        if name not in PATCHED:
            raise PackageError(DAMAGED)
        values = self._original(at, specs)
        if given:
            if name == "gather" and given["gathers"]:
                given["y"], kept = given["gathers"].pop(0)
                values.update(y=given["y"], kept=kept)
            else:
                values.update([(field, given[field]) for field in PATCHED[name]])
        for i, spec in enumerate(specs):
            if spec[0] in PATCHED[name]:
                struct.pack_into("<i", self.program, at + 4 + 4 * i, values[spec[0]])
        words = struct.unpack_from("<%di" % len(specs), self.program, at + 4)
        check_record(name, specs, rules, words, self.sizes, self.lists)

    def _switch(self):
        """Switch off the candidates that were not chosen, and the errors below the first chosen layer."""
        functions = self.net.functions
        functions[:] = self.kernels
        end, stop = self.net.phases["backward"]
        if self.chosen:
            first = self.records[min(self.chosen)]
            end = first[-1][0] + 1
            for i, at in first:
                if self._kind(at)[0] in ("conv_dx", "depthwise_dx"):
                    functions[i] = _off
        for i in range(end, stop):
            functions[i] = _off
        for i, records in enumerate(self.records):
            for n, at in records:
                if i not in self.chosen and self._kind(at)[0] in SWITCHED:
                    functions[n] = _off

    # -- the package's own records

    def _kind(self, at):
        """(name, fields, rules) of a record."""
        row = RECORDS[struct.unpack_from("<i", self.program, at)[0]]
        return row[0], fields(row[1]), row[2].split() if len(row) > 2 else ()

    def _original(self, at, specs):
        words = struct.unpack("<%di" % len(specs), self.package.part("program", at + 4, 4 * len(specs)))
        return {spec[0]: word for spec, word in zip(specs, words)}

    def _record(self, i, *names):
        """The operands that the package gave to a candidate's first record of these kinds."""
        for _, at in self.records[i]:
            name, specs, _ = self._kind(at)
            if name in names:
                return self._original(at, specs)
        raise PackageError(DAMAGED)

    def _factors(self, i, channels):
        """The update factors of a depthwise layer's chosen channels."""
        u = self.package.part(
            "const", self._record(i, "depthwise_dw")["u"] & OFFSET_MASK, 2 * self.rows[i][CHANNELS]
        )
        return [struct.unpack_from("<H", u, 2 * c)[0] for c in channels]

    def _start(self, i, channels, where):
        """Copy the frozen biases and, for a depthwise layer, the frozen weights."""
        v, row = self._record(i, "conv_fwd", "depthwise_fwd"), self.rows[i]
        size, taps = 4 * v["oc"], v["kh"] * v["kw"]
        if size > row[BIAS] or row[ERROR] and (taps * len(channels) > row[PLANE] or v["oc"] != row[CHANNELS]):
            raise PackageError(DAMAGED)
        self.planes[where[2] : where[2] + size] = self.package.part("const", v["bias"] & OFFSET_MASK, size)
        if row[ERROR]:
            at = where[0]
            for tap in range(taps):
                w = self.package.part("weights", (v["w"] & OFFSET_MASK) + tap * v["oc"], v["oc"])
                for c in channels:
                    self.planes[at] = w[c] & 255
                    at += 1
