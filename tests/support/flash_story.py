# The store on a real file system of MicroPython, power cut at every write of its block device.
# Runs on the unix port: the file system's name is in FS. Prints how many cuts were tried.

import os

import trimtab.store as store

BLOCK = 512
COUNT = 128
PACKAGE = 7


class Flash:
    """A block device in RAM that logs what is written."""

    def __init__(self, image):
        self.image = bytearray(image)
        self.log = []

    def readblocks(self, n, buf, off=0):
        at = n * BLOCK + off
        buf[:] = self.image[at : at + len(buf)]

    def writeblocks(self, n, buf, off=0):
        self.put(n * BLOCK + off, bytes(buf))

    def put(self, at, data):
        self.log.append((at, data))
        self.image[at : at + len(data)] = data

    def ioctl(self, op, arg):
        if op == 4:
            return COUNT
        if op == 5:
            return BLOCK
        if op == 6 and FS != "VfsFat":
            self.put(arg * BLOCK, b"\xff" * BLOCK)
        return 0


def segments(step):
    return [memoryview(bytearray([(step * 31 + i * 7) & 255 for i in range(n)])) for n in (1500, 30)]


def mounted(flash, fresh=False):
    kind = getattr(os, FS)
    if fresh:
        kind.mkfs(flash)
    os.mount(kind(flash), "/flash")


def loaded(image):
    """The step that a board with this flash comes back with; it is checked, and a next save works."""
    mounted(Flash(image))
    empty = [memoryview(bytearray(n)) for n in (1500, 30)]
    step = store.Store("/flash/net.ttp").load(empty, PACKAGE)
    assert step is None or [bytes(s) for s in empty] == [bytes(s) for s in segments(step)], step
    store.Store("/flash/net.ttp").save(segments(99), PACKAGE, 99)
    assert store.Store("/flash/net.ttp").load(empty, PACKAGE) == 99
    os.umount("/flash")
    return step


flash = Flash(bytes(BLOCK * COUNT))
mounted(flash, True)
flash.log = []
start = bytes(flash.image)
keeper = store.Store("/flash/net.ttp")
finished = []
for step in range(1, SAVES + 1):
    keeper.save(segments(step), PACKAGE, step)
    finished.append(len(flash.log))
os.umount("/flash")
image = bytearray(start)
cuts = 0
for count, (at, data) in enumerate(flash.log + [(0, b"")]):
    last = sum([done <= count for done in finished])
    for half in (0, len(data) // 2 if TORN else 0):
        tried = bytearray(image)
        tried[at : at + half] = data[:half]
        step = loaded(tried)
        assert step in ((last, last + 1) if last else (None, 1)), (count, half, last, step)
        cuts += 1
    image[at : at + len(data)] = data
print("cuts", cuts)
