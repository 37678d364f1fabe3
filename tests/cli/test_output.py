"""An output file: its name holds the old content or all of the new, never a part."""

import os
import stat

import pytest
from trimtab_tools import output


def test_new_content_takes_the_place_of_the_old(tmp_path):
    path = tmp_path / "net.ttp"
    assert output.write(path, b"one") == 3 and output.write(path, "zwölf") == 6
    assert path.read_text(encoding="utf-8") == "zwölf"
    assert os.listdir(tmp_path) == ["net.ttp"]


def test_a_write_that_fails_leaves_the_old(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    path = tmp_path / "net.ttp"
    path.write_bytes(b"old")
    monkeypatch.setattr(output.os, "fsync", full)
    with pytest.raises(OSError):
        output.write(path, b"new")
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["net.ttp"]


def test_a_link_stays_a_link_and_a_device_a_device(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "there")
    output.write(tmp_path / "link", b"x")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "there").read_bytes() == b"x"
    assert output.write("/dev/null", b"gone") == 4
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_a_new_file_is_its_owners_and_replaces_none(tmp_path):
    path = tmp_path / "key"
    output.create(path, b"secret")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(FileExistsError):
        output.create(path, b"other")
    assert path.read_bytes() == b"secret"
