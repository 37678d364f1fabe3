"""The store: after a power cut at any operation the last or the one before last good state comes back."""

import io
import os
import random
from pathlib import Path

import pytest
from littlefs_flash import Files, Flash
from trimtab import store
from trimtab.store import Store
from trimtab_tools.boards.unix import Unix
from trimtab_tools.toolchain.boards import provide

PACKAGE = 0x1234


def state(step, sizes=(700, 30, 4)):
    rng = random.Random(step)
    return [memoryview(bytearray(rng.randbytes(n))) for n in sizes]


def empty(sizes=(700, 30, 4)):
    return [memoryview(bytearray(n)) for n in sizes]


def loaded(a_store, package=PACKAGE):
    """The step that comes back, its bytes checked."""
    segments = empty()
    step = a_store.load(segments, package)
    wanted = empty() if step is None else state(step)
    assert [bytes(s) for s in segments] == [bytes(s) for s in wanted]
    return step


def test_the_newest_save_comes_back(tmp_path):
    path = str(tmp_path / "net.ttp")
    assert loaded(Store(path)) is None
    a_store = Store(path)
    for step in range(1, 8):
        a_store.save(state(step), PACKAGE, step)
        assert loaded(Store(path)) == step
    assert sorted(os.listdir(tmp_path)) == ["net.ttp.s0", "net.ttp.s1"]


def test_a_store_that_never_loaded_does_not_overwrite_the_newest(tmp_path):
    path = str(tmp_path / "net.ttp")
    for step in (1, 2, 3):
        Store(path).save(state(step), PACKAGE, step)
    os.truncate(path + ".s0", 100)  # step 3
    Store(path).save(state(4), PACKAGE, 4)
    os.truncate(path + ".s0", 100)  # step 4 went where 3 was torn
    assert loaded(Store(path)) == 2


def test_every_flipped_byte_is_noticed(tmp_path):
    path = str(tmp_path / "net.ttp")
    Store(path).save(state(1), PACKAGE, 1)
    Store(path).save(state(2), PACKAGE, 2)
    good = open(path + ".s1", "rb").read()
    for at in range(len(good)):
        open(path + ".s1", "wb").write(good[:at] + bytes([good[at] ^ 1 << at % 8]) + good[at + 1 :])
        assert loaded(Store(path)) == 1
    for length in range(0, len(good), 7):
        open(path + ".s1", "wb").write(good[:length])
        assert loaded(Store(path)) == 1


def test_the_state_of_another_package_is_ignored_and_said(tmp_path, capsys):
    path = str(tmp_path / "net.ttp")
    Store(path).save(state(1), PACKAGE, 1)
    assert loaded(Store(path), PACKAGE + 1) is None
    assert "net.ttp.s0 is the state of another package and is ignored" in capsys.readouterr().out
    other = Store(path)
    other.save(state(5), PACKAGE + 1, 5)
    assert loaded(Store(path), PACKAGE + 1) == 5


def test_the_same_package_with_another_state_size_is_ignored(tmp_path):
    path = str(tmp_path / "net.ttp")
    Store(path).save(state(1, (700, 30)), PACKAGE, 1)
    assert Store(path).load(empty(), PACKAGE) is None


class Space:
    """`os` with a disk of so many free blocks of 512 bytes."""

    def __init__(self, free):
        self.free = free

    def statvfs(self, folder):
        return (512, 512, 100, self.free, self.free)

    def __getattr__(self, name):
        return getattr(os, name)


def test_a_save_that_does_not_fit_is_refused_and_changes_nothing(tmp_path, monkeypatch):
    path = str(tmp_path / "net.ttp")
    a_store = Store(path)
    for step in (1, 2, 3):
        a_store.save(state(step), PACKAGE, step)
    before = {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)}
    monkeypatch.setattr(store, "os", Space(1))  # 758 bytes take 2 blocks and 2 spare, the old slot gives 2
    with pytest.raises(OSError, match="saving takes 2048 bytes, 1536 are free: .*; nothing was changed"):
        a_store.save(state(4), PACKAGE, 4)
    assert before == {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)}
    monkeypatch.setattr(store, "os", Space(2))
    a_store.save(state(4), PACKAGE, 4)
    assert loaded(Store(path)) == 4


def test_a_write_that_fails_leaves_the_last_save(tmp_path, monkeypatch):
    path = str(tmp_path / "net.ttp")
    a_store = Store(path)
    a_store.save(state(1), PACKAGE, 1)

    class Full(io.FileIO):
        def write(self, data):
            if len(data) == 30:
                raise OSError("28")
            return super().write(data)

    monkeypatch.setattr(store, "open", Full, raising=False)
    with pytest.raises(OSError, match="was not saved .* the last save is untouched"):
        a_store.save(state(2), PACKAGE, 2)
    monkeypatch.undo()
    assert loaded(a_store) == 1
    a_store.save(state(3), PACKAGE, 3)
    assert loaded(Store(path)) == 3


# -- power cuts


class Log:
    """A file layer that logs every operation; a prefix of the log can be played into a folder. Nothing is
    atomic: a file is cut to zero when it is opened, and grows write by write, each of which may be torn."""

    def __init__(self):
        self.operations = []

    def open(self, name, mode="rb"):
        if mode == "rb":
            return open(name, mode)
        self.operations.append(("cut", name, b""))
        return Logged(name, self.operations)

    def replay(self, count, torn, folder):
        files = {}
        for what, name, data in self.operations[:count]:
            files[name] = b"" if what == "cut" else files[name] + data
        if torn and count < len(self.operations) and self.operations[count][0] == "write":
            _, name, data = self.operations[count]
            files[name] += data[: len(data) // 2]
        for name, data in files.items():
            (folder / os.path.basename(name)).write_bytes(data)
        return files


class Logged(io.FileIO):
    def __init__(self, name, operations):
        super().__init__(name, "w")
        self.operations = operations

    def write(self, data):
        self.operations.append(("write", self.name, bytes(data)))
        return super().write(data)


def test_power_cut_at_every_write(tmp_path, monkeypatch):
    log = Log()
    monkeypatch.setattr(store, "open", log.open, raising=False)
    path = str(tmp_path / "net.ttp")
    a_store = Store(path)
    finished = []  # operations after which step i + 1 was saved
    for step in range(1, 9):
        a_store.save(state(step), PACKAGE, step)
        finished.append(len(log.operations))
    monkeypatch.undo()
    assert finished[-1] == 8 * 5  # cut, header, three segments
    for count in range(len(log.operations) + 1):
        for torn in (False, True):
            folder = tmp_path / f"{count}{torn}"
            folder.mkdir()
            log.replay(count, torn, folder)
            last = sum(done <= count for done in finished)
            after = Store(str(folder / "net.ttp"))
            assert loaded(after) == (last or None)
            after.save(state(20), PACKAGE, 20)
            assert loaded(Store(str(folder / "net.ttp"))) == 20


def test_power_cut_at_every_flash_operation_of_a_littlefs(monkeypatch):
    sizes = (9000, 30)
    flash = Flash()
    Files(flash.mount(fresh=True)).use(monkeypatch)
    start = bytes(flash.buffer)
    flash.operations.clear()
    a_store = Store("/net.ttp")
    finished = []
    for step in range(1, 6):
        a_store.save(state(step, sizes), PACKAGE, step)
        finished.append(len(flash.operations))
    assert len(flash.operations) > 100
    image = bytearray(start)
    for count, (at, data) in enumerate(flash.operations + [(0, b"")]):
        if count % 3 == 0 or count in finished:
            cut = Flash(bytes(image))
            Files(cut.mount()).use(monkeypatch)
            segments = empty(sizes)
            step = Store("/net.ttp").load(segments, PACKAGE)
            last = sum(done <= count for done in finished)
            # the next save may be whole before its file is closed
            assert step in ([last, last + 1] if last else [None, 1])
            if step:
                assert [bytes(s) for s in segments] == [bytes(s) for s in state(step, sizes)]
        image[at : at + len(data)] = data


@pytest.mark.unix
@pytest.mark.parametrize("system, torn", [("VfsLfs2", True), ("VfsFat", False)])
def test_power_cut_on_micropythons_file_systems(system, torn):
    """On FAT a sector is written wholly or not at all, as cards promise; littlefs survives half a write."""
    provide("unix")
    story = (Path(__file__).parents[1] / "support" / "flash_story.py").read_text()
    code = f"FS, SAVES, TORN = {system!r}, 6, {torn}\n{story}"
    with Unix("-c", code, kernels=False) as unix:
        said = unix.output()
    assert int(said.split("cuts ")[1]) > 60
