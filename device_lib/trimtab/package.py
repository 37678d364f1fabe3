"""Open a package: its header, its sections, and the check that no record points outside its memory."""

import struct

from .crc import crc32
from .format import (
    ABI,
    ARENA,
    CONST,
    GOLDEN_BYTES,
    HEADER,
    LABEL_BYTES,
    LIMITS,
    LOSSES,
    MAGIC,
    NULL,
    OFFSET_MASK,
    PHASES,
    RECORDS,
    SECTIONS,
    SPACE_SHIFT,
    STATE,
    VERSION,
    WEIGHTS,
    fields,
)

_WORDS = len(HEADER) + 3 * len(SECTIONS) + 2 * len(PHASES)
HEADER_BYTES = 8 + 4 * _WORDS + 4  # with its CRC
_SIZE = {"b": 1, "h": 2, "x": 2, "i": 4}
_SIGNED = ("input_zero", "output_zero")


class PackageError(ValueError):
    """The package cannot be used; the message says why and what to do."""


class Package:
    """A package in a file or in memory. A section is read, and its CRC checked, when it is asked for.

    The firmware maps files of a ROMFS: such a package is memory, and its sections are used where they lie.
    """

    def __init__(self, source):
        self.path = source if isinstance(source, str) else None
        self._data = _mapped(source) if self.path else memoryview(source)
        head = self.read(0, HEADER_BYTES)
        if bytes(head[:4]) != MAGIC:
            raise PackageError("this is not a trimtab package: compile one with `trimtab compile`")
        version, abi = struct.unpack("<HH", head[4:8]) if len(head) >= 8 else (VERSION, ABI)
        if (version, abi) != (VERSION, ABI):
            raise PackageError(
                "package has format %d and ABI %d, this library has %d and %d: compile it again or deploy "
                "the library" % (version, abi, VERSION, ABI)
            )
        whole = len(head) == HEADER_BYTES
        self.crc = struct.unpack_from("<I", head, HEADER_BYTES - 4)[0] if whole else 0
        if not whole or crc32(head[: HEADER_BYTES - 4]) != self.crc:
            raise PackageError("the package's header is damaged or cut short: copy it again")
        words = struct.unpack_from("<%dI" % _WORDS, head, 8)
        n = len(HEADER)
        for name, word in zip(HEADER, words[:n]):
            setattr(self, name, word - (1 << 32) if name in _SIGNED and word >> 31 else word)
        self._sections = {name: words[n + 3 * i : n + 3 * i + 3] for i, name in enumerate(SECTIONS)}
        n += 3 * len(SECTIONS)
        self._phases = [words[n + 2 * i : n + 2 * i + 2] for i in range(len(PHASES))]
        if (
            max(self.arena_bytes, self.state_bytes) > OFFSET_MASK
            or self.bytes_of("state") != self.state_bytes
            or self.loss_kind >= len(LOSSES)
            or not 0 < self.classes <= self.output_count
            or (self.classes < self.output_count and self.loss_kind != 1)
            or not (self.input_bytes and self.output_count and self.accumulate)
            or not -128 <= self.input_zero <= 127
            or not 0 < self.float("input_scale") < 1e30
            or max([offset + size for offset, size, _ in self._sections.values()]) > OFFSET_MASK
        ):
            raise PackageError("the package's header contradicts itself: compile it again")

    def float(self, name):
        return struct.unpack("<f", struct.pack("<I", getattr(self, name)))[0]

    def bytes_of(self, section):
        return self._sections[section][1]

    def section(self, name, into=None):
        """The bytes of a section, checked. A buffer of its size, `into`, saves the allocation."""
        offset, size, crc = self._sections[name]
        data = self.read(offset, size, into)
        if len(data) != size or crc32(data) != crc:
            raise PackageError(
                "section %s of the package is damaged or cut short: copy the package again" % name
            )
        return data

    @property
    def is_file(self):
        """Sections are read into RAM, not used where they lie."""
        return self._data is None

    def span(self, name):
        """(offset, bytes, CRC32) of a section."""
        return self._sections[name]

    def place(self, name, wide=True):
        """A section to use in place: where it lies if that is memory, aligned if `wide`; else in RAM."""
        try:
            data = self.section(name)
            return bytearray(data) if wide and not self.is_file and _address(data) % 4 else data
        except MemoryError:
            raise MemoryError(
                "section %s of the package has %d bytes, more than RAM has free: put the package into ROMFS, "
                "where it is used in place" % (name, self.bytes_of(name))
            )

    def labels(self):
        try:
            names = bytes(self.section("labels")).decode().split("\0")
        except UnicodeError:
            raise PackageError("the package's labels are not text: compile it again")
        if len(names) - 1 not in (0, self.classes):
            raise PackageError(
                "the package has %d classes and %d labels: compile it again" % (self.classes, len(names) - 1)
            )
        return names

    def shape(self):
        """(height, width, channels) of a sample, 1 where it has fewer axes."""
        start, most, _ = self.span("const")
        at = self.input_shape & OFFSET_MASK
        data = self.read(start + at, min(20, max(most - at, 0)) & ~3)  # rank and at most four sizes
        words = struct.unpack("<%dI" % (len(data) // 4), data)
        sizes = words[1 : 1 + words[0]] if words else ()
        h, w, c = ((1, 1, 1) + sizes[1:])[-3:]
        if h * w * c != self.input_bytes:
            raise PackageError("the package's input has no shape: compile it again")
        return h, w, c

    def golden(self):
        """(output CRC, state CRC after one step, class, sample, target of mse); a short sample repeats."""
        data = self.section("golden")
        end = 12 + min(self.input_bytes, GOLDEN_BYTES)
        if len(data) != end + (self.output_count if self.loss_kind == 2 else 0):
            raise PackageError("the package has no sample to test itself with: compile it again")
        output, after, label = struct.unpack("<III", data[:12])
        if self.loss_kind == 1 and label >= self.classes:
            raise PackageError(
                "the package tests itself with a class that it does not have: compile it again"
            )
        return output, after, label, data[12:end], data[end:]

    def segments(self):
        data = self.section("segments")
        if len(data) % 8:
            raise PackageError("the package's list of its state is cut short: compile it again")
        pairs = [struct.unpack_from("<II", data, i) for i in range(0, len(data), 8)]
        for offset, size in pairs:
            if offset + size > self.state_bytes:
                raise PackageError("the package's state does not fit its own size: compile it again")
        return pairs

    def read(self, offset, size, into=None):
        """Bytes of the package, perhaps fewer at its end."""
        if self._data is not None:
            data = self._data[offset : offset + size]
            if into is None:
                return data
            into[: len(data)] = data
            return into if len(data) == size else into[: len(data)]
        try:
            with open(self.path, "rb") as f:
                f.seek(offset)
                if into is None:
                    return f.read(size)
                return into[: f.readinto(into)]
        except OSError:
            raise PackageError(
                "package %s is not there: copy it to the board with `trimtab deploy`" % self.path
            )

    def records(self, program, const):
        """[(opcodes, offsets)] of each phase, every record checked against the memory it names."""
        sizes, lists = self.sizes(const), {CONST: const}
        output = self.output_count * (4 if self.loss_kind == 1 else 1)
        target = (0, 4, self.output_count)[self.loss_kind]
        spare = self.output_count - self.classes
        head = 4 * self.output_count if self.loss_kind == 1 else 0
        for name, size, space in (
            ("input", self.input_bytes, ARENA),
            ("latent", self.latent_bytes, ARENA),
            ("clock", 8, STATE),
            ("output", output, ARENA),
            ("target", target, ARENA),
            ("rng", 4, STATE),
            ("study_input", self.input_bytes, ARENA),
            ("study_target", target, ARENA),
            ("names", LABEL_BYTES * spare, STATE),
            ("head_bias", head, STATE),
        ):
            ref = getattr(self, name)
            _check_ref(name, ref, size, sizes, True)
            if ref >> SPACE_SHIFT != space:
                raise PackageError("%s lies in the wrong memory: compile the package again" % name)
        phases = [_walk(program, start, count) for start, count in self._phases]
        _check_apart([(offsets[0], offsets[-1] + _bytes_of(codes[-1])) for codes, offsets in phases if codes])
        for code, row in enumerate(RECORDS):  # kind by kind, because the description of a kind takes RAM
            specs = rules = None
            for codes, offsets in phases:
                for other, start in zip(codes, offsets):
                    if other == code:
                        specs = specs or fields(row[1])
                        rules = rules or (row[2].split() if len(row) > 2 else ())
                        values = struct.unpack_from("<%di" % len(specs), program, start + 4)
                        check_record(row[0], specs, rules, values, sizes, lists)
        return phases

    def sizes(self, const, program=0):
        """Bytes of each space that records may name; `program` where tinytrain wrote index lists there."""
        return self.arena_bytes, self.state_bytes, len(const), program, self.bytes_of("weights")

    def part(self, name, offset, size):
        """Some bytes of a section whose CRC was checked before."""
        start, whole, _ = self._sections[name]
        if offset + size > whole:
            raise PackageError(
                "section %s of the package is shorter than its records: compile it again" % name
            )
        return self.read(start + offset, size)


def _mapped(path):
    """A file as memory where the firmware maps it, else None."""
    try:
        file = open(path, "rb")
    except OSError:
        return None  # the error comes when it is read
    try:
        return memoryview(file)
    except TypeError:
        file.close()
        return None


def _address(data):
    try:
        from uctypes import addressof
    except ImportError:  # CPython; its kernels see to alignment themselves
        return 0
    return addressof(data)


def _walk(program, start, count):
    """(opcodes, offsets) of a phase."""
    codes, offsets = [], []
    for _ in range(count):
        if start < 0 or start % 4 or start + 4 > len(program):
            raise PackageError("a record lies outside the package: compile it again")
        code = struct.unpack_from("<i", program, start)[0]
        if not 0 <= code < len(RECORDS):
            raise PackageError("record %d is unknown to this library: deploy the library again" % code)
        codes.append(code)
        offsets.append(start)
        start += _bytes_of(code)
        if start > len(program):
            raise PackageError("record %s is cut short: copy the package again" % RECORDS[code][0])
    return codes, offsets


def _bytes_of(code):
    return 4 + 4 * len(RECORDS[code][1].split())


def _check_apart(spans):
    """Refuse phases that share words: patching one record must not change another that was checked."""
    spans.sort()
    for (_, end), (start, _) in zip(spans, spans[1:]):
        if start < end:
            raise PackageError("records of the package overlap: compile it again")


def _check_ref(name, ref, size, sizes, written):
    space, offset = ref >> SPACE_SHIFT, ref & OFFSET_MASK
    if (
        not 0 <= space < len(sizes)
        or offset + size > sizes[space]
        or (written and space not in (ARENA, STATE))
    ):
        raise PackageError("%s points outside the package's memory: compile it again" % name)


def check_record(name, specs, rules, values, sizes, lists):
    """Check a record's numbers and what they point at. lists: the spaces that may hold lists of channels."""
    value = {spec[0]: v for spec, v in zip(specs, values)}
    for field, kind, _, _ in specs:
        if kind is None:
            low, high = LIMITS.get(field, (1, OFFSET_MASK))
            if not low <= value[field] <= high:
                raise PackageError(
                    "record %s has %s = %d: compile the package again" % (name, field, value[field])
                )
    for rule in rules:
        if not _holds(rule, value):
            raise PackageError("record %s breaks the rule %s: compile the package again" % (name, rule))
    for field, kind, extent, bound in specs:
        if kind is None:
            continue
        n = 1
        for factor in extent:
            n *= int(factor) if factor[0].isdigit() else value[factor]
        ref = value[field]
        if ref == NULL and "?" in kind:
            continue
        letter = kind[-1]
        size = (
            (n + 7) // 8
            if letter == "m"
            else (n * value["residual"] + 7) // 8
            if letter == "r"
            else n * _SIZE[letter]
        )
        _check_ref("record " + name, ref, size, sizes, "!" in kind)
        if _SIZE.get(letter, 1) > 1 and (
            (ref & OFFSET_MASK) % _SIZE[letter] or ref >> SPACE_SHIFT == WEIGHTS
        ):
            raise PackageError("record %s reads unaligned data: compile the package again" % name)
        if bound:
            _check_indices(name, ref, n, value[bound], lists)


def _check_indices(name, ref, n, bound, lists):
    space = ref >> SPACE_SHIFT
    if space not in lists:
        raise PackageError("record %s takes its channels from RAM: compile the package again" % name)
    for i in range(n):
        if struct.unpack_from("<H", lists[space], (ref & OFFSET_MASK) + 2 * i)[0] >= bound:
            raise PackageError(
                "record %s trains a channel that is not there: compile the package again" % name
            )


def _holds(rule, value):
    """Rules: a|b (a divides b), a+b<=c and a<=b (sizes that fit), a*b=c, n@s+...<size (steps that fit)."""
    if "@" in rule:
        terms, limit = rule.split("<")
        pairs = [term.split("@") for term in terms.split("+")]
        return sum([(value[n] - 1) * value[s] for n, s in pairs]) < value[limit]
    if "|" in rule:
        a, b = rule.split("|")
        return value[b] % (int(a) if a[0].isdigit() else value[a]) == 0
    if "*" in rule:
        product, whole = rule.split("=")
        a, b = product.split("*")
        return value[a] * value[b] == value[whole]
    terms, limit = rule.split("<=")
    return sum([value[term] for term in terms.split("+")]) <= value[limit]
