"""What an installed trimtab holds: all of the device library, the host tools and the firmware's sources."""

import subprocess
import sys
import zipfile

import pytest
from sources import DEVICE, FIRMWARE, HOST, ROOT

SOURCES = {DEVICE: "trimtab", HOST: "trimtab_tools", FIRMWARE: "trimtab_tools/firmware"}
LEFT_OUT = {"__pycache__", "node_modules", "build"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    pytest.importorskip("setuptools", "77")
    folder = tmp_path_factory.mktemp("wheel")
    copy = folder / "source"
    copy.mkdir()
    for path in ("pyproject.toml", "README.md", "LICENSE", "device_lib", "host_tools", "firmware"):
        (copy / path).symlink_to(ROOT / path)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet", "-w"]
    done = subprocess.run([*command, folder, copy], capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert done.stderr + done.stdout == "", "building it is quiet"
    return next(folder.glob("*.whl"))


def test_a_wheel_holds_every_source(wheel):
    held = set(zipfile.ZipFile(wheel).namelist())
    wanted = {
        f"{place}/{path.relative_to(folder)}"
        for folder, place in SOURCES.items()
        for path in folder.rglob("*")
        if path.is_file() and not LEFT_OUT & set(path.parts)
    }
    assert wanted - held == set(), (
        "name it in pyproject.toml: a room under packages, a suffix under package-data"
    )


def test_an_installed_toolchain_finds_the_firmware(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path)
    code = "from trimtab_tools.toolchain.kernels import kernel_sources; print(kernel_sources()[0].parent)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
    )
    assert done.stdout.strip() == str(tmp_path / "trimtab_tools" / "firmware" / "kernels"), done.stderr
