# A small file system in RAM that the emulator does not clear, so it outlives a soft reset.
import _qemu
import vfs


class Disk:
    BLOCK = 4096

    def __init__(self, memory):
        self.memory = memory

    def readblocks(self, block, buf, offset=0):
        start = block * self.BLOCK + offset
        buf[:] = self.memory[start : start + len(buf)]

    def writeblocks(self, block, buf, offset=0):
        start = block * self.BLOCK + offset
        self.memory[start : start + len(buf)] = buf

    def ioctl(self, op, arg):
        return {4: len(self.memory) // self.BLOCK, 5: self.BLOCK}.get(op, 0)


disk = Disk(_qemu.disk())
try:
    vfs.mount(vfs.VfsLfs2(disk), "/")
except OSError:
    vfs.VfsLfs2.mkfs(disk)
    vfs.mount(vfs.VfsLfs2(disk), "/")
