# The trained state in a file system: two slots beside the package, <package>.s0 and .s1. A save writes the
# slot that does not hold the newest good state. So power may fail at any write: a torn slot fails its CRC,
# and the other is used.

import os
import struct

from .crc import crc32

MAGIC = b"TTS1"
# Magic, package CRC, sequence, run, step, bytes of state; then the CRC32 of all other bytes; then the state.
HEADER = "<4sIIIII"
HEADER_BYTES = 24
CRC_BYTES = 4
CHUNK = 256
SPARE_BLOCKS = 2  # of the file system, for its own records


class Store:
    def __init__(self, path):
        self.path = path
        self.slots = (path + ".s0", path + ".s1")
        self.sequence = 0  # the highest seen in any slot
        self.newest = None  # slot of the newest good state
        self.run = 0  # the run that this state belongs to
        self.known = False  # whether these are up to date

    def load(self, segments, package_crc):
        """Fill the segments (writable views) with the newest good state; returns its step, or None."""
        step = self._look(segments, package_crc)
        if self.newest is None:
            return None
        with open(self.slots[self.newest], "rb") as file:
            file.read(HEADER_BYTES + CRC_BYTES)
            for view in segments:
                _fill(file, view)
        return step

    def save(self, segments, package_crc, step, run=0):
        """Write the segments into the other slot, which then is the newest. Refuses when space is short."""
        if not self.known:
            self._look(segments, package_crc)
        slot = 1 if self.newest == 0 else 0
        size = _size(segments)
        self._make_room(slot, HEADER_BYTES + CRC_BYTES + size)
        header = struct.pack(HEADER, MAGIC, package_crc, self.sequence + 1, run, step, size)
        crc = crc32(header)
        for view in segments:
            crc = crc32(view, crc)
        try:
            self._write(slot, header + struct.pack("<I", crc), segments)
        except OSError as error:
            _remove(self.slots[slot])
            raise OSError("the state was not saved (%s): free some space; the last save is untouched" % error)
        self.sequence += 1
        self.newest = slot

    def _write(self, slot, header, segments):
        with open(self.slots[slot], "wb") as file:
            file.write(header)
            for view in segments:
                file.write(view)
            file.flush()
            if hasattr(os, "fsync"):
                os.fsync(file.fileno())

    def _look(self, segments, package_crc):
        """Find the newest good state of this package; returns its step."""
        self.newest = None
        self.known = True
        found = []
        for slot, name in enumerate(self.slots):
            header = _header(name)
            if header:
                self.sequence = max(self.sequence, header[2])
                if header[1] != package_crc:
                    print("%s is the state of another package and is ignored" % name)
                elif header[5] == _size(segments):
                    found.append((header[2], slot, header[4], header[3]))
        for _, slot, step, run in sorted(found, reverse=True):
            if _whole(self.slots[slot]):
                self.newest = slot
                self.run = run
                return step
        return None

    def _make_room(self, slot, size):
        """Make sure that a file of this size fits. An old file in this slot may go for it, nothing else."""
        if not hasattr(os, "statvfs"):
            return
        old = self.slots[slot]
        folder = old[: old.rfind("/") + 1] or os.getcwd()
        block = os.statvfs(folder)[1]
        needed = (size + block - 1) // block + SPARE_BLOCKS
        free = os.statvfs(folder)[4]
        held = (_length(old) + block - 1) // block
        if free + held < needed:
            raise OSError(
                "saving takes %d bytes, %d are free: remove some files; nothing was changed"
                % (needed * block, (free + held) * block)
            )
        if free < needed:
            _remove(old)


def _size(segments):
    return sum([len(view) for view in segments])


def _header(name):
    try:
        with open(name, "rb") as file:
            data = file.read(HEADER_BYTES)
    except OSError:
        return None
    if len(data) < HEADER_BYTES or data[:4] != MAGIC:
        return None
    return struct.unpack(HEADER, data)


def _whole(name):
    """Whether a slot's CRC fits its bytes."""
    chunk = memoryview(bytearray(CHUNK))
    with open(name, "rb") as file:
        header = file.read(HEADER_BYTES)
        stored = file.read(CRC_BYTES)
        crc = crc32(header)
        left = struct.unpack(HEADER, header)[5]
        while left:
            n = file.readinto(chunk[: min(CHUNK, left)])
            if not n:
                return False
            crc = crc32(chunk[:n], crc)
            left -= n
    return stored == struct.pack("<I", crc)


def _fill(file, view):
    done = 0
    while done < len(view):
        n = file.readinto(view[done:])
        if not n:
            raise OSError("the saved state shrank while it was read: reset the board and load again")
        done += n


def _length(name):
    try:
        return os.stat(name)[6]
    except OSError:
        return 0


def _remove(name):
    try:
        os.remove(name)
    except OSError:
        pass
