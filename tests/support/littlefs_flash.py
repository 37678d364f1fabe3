"""A flash of this machine's memory that logs its operations, and `os` and `open` on a littlefs in it."""

from littlefs import LittleFS, LittleFSError, UserContext
from trimtab import store


class Flash(UserContext):
    """A flash that logs each erase and program. An image that is a bytearray is used as it lies there."""

    BLOCK = 4096

    def __init__(self, image=None, prog=32, cache=128):
        image = b"\xff" * self.BLOCK * 32 if image is None else image
        super().__init__(len(image))
        self.buffer = image if isinstance(image, bytearray) else bytearray(image)
        self.count = len(image) // self.BLOCK
        self.prog_bytes, self.cache_bytes = prog, cache
        self.operations = []

    def prog(self, cfg, block, off, data):
        self.operations.append((block * self.BLOCK + off, bytes(data)))
        self.buffer[block * self.BLOCK + off : block * self.BLOCK + off + len(data)] = data
        return 0

    def erase(self, cfg, block):
        self.operations.append((block * self.BLOCK, b"\xff" * self.BLOCK))
        self.buffer[block * self.BLOCK : (block + 1) * self.BLOCK] = b"\xff" * self.BLOCK
        return 0

    def mount(self, fresh=False):
        files = LittleFS(
            context=self,
            mount=False,
            block_size=self.BLOCK,
            block_count=self.count,
            read_size=32,
            prog_size=self.prog_bytes,
            cache_size=self.cache_bytes,
            lookahead_size=32,
        )
        if fresh:
            files.format()
        files.mount()
        return files


class Files:
    """`os` and `open` on a littlefs volume."""

    def __init__(self, volume):
        self.volume = volume

    def open(self, name, mode="rb"):
        return self.volume.open(name, mode)

    def statvfs(self, folder):
        count = self.volume.context.count
        free = count - self.volume.used_block_count
        return (Flash.BLOCK, Flash.BLOCK, count, free, free)

    def stat(self, name):
        try:
            return (0, 0, 0, 0, 0, 0, self.volume.stat(name).size)
        except LittleFSError as error:
            raise OSError(error.code) from error

    def getcwd(self):
        return "/"

    def remove(self, name):
        self.volume.remove(name)

    def use(self, monkeypatch):
        monkeypatch.setattr(store, "os", self)
        monkeypatch.setattr(store, "open", self.open, raising=False)
