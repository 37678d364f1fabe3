"""What a wheel brings runs without a compiler: as WebAssembly everywhere, as native code on Linux."""

import json
import re
import subprocess
import sys
import zipfile

import pytest
import toys
from helpers import compiled, provide, provide_webassembly
from trimtab_tools.boards import simulated
from trimtab_tools.boards.packed import always_packed
from trimtab_tools.toolchain import kernels, wheel

TRAIN = """
import json, trimtab
from trimtab_tools.boards.packed import always_packed
net = trimtab.load("net.ttp")
for i in range(3):
    net.train(bytes([(k * 37 + i) % 256 for k in range(net.input_bytes)]), i)
with open("net.ttp", "rb") as file:
    packed = sorted(always_packed(file.read(), "armv6m"))
print(json.dumps([trimtab.__file__, type(net.mem).__name__, net.state_crc(), packed]))
"""


@pytest.fixture(scope="module")
def wheels(tmp_path_factory):
    """{tag: the folder of an unpacked wheel}"""
    provide_webassembly()
    provide("sim")
    folder = tmp_path_factory.mktemp("wheels")
    found = {}
    for path in wheel.wheels(folder):
        tag = path.stem.split("-")[-1]
        zipfile.ZipFile(path).extractall(folder / tag)
        found[tag] = folder / tag
    return found


@pytest.mark.slow
@pytest.mark.parametrize("tag, memory", [("any", "Spaces"), (wheel.LINUX, "Memory")])
def test_a_wheel_trains_without_a_compiler(wheels, tmp_path, tag, memory):
    if tag not in wheels:
        pytest.skip(f"no wheel for {tag} is built here")
    data = compiled(toys.deep(), "full").data
    (tmp_path / "net.ttp").write_bytes(data)
    env = {"PATH": str(tmp_path), "TRIMTAB_CACHE": str(tmp_path / "cache"), "PYTHONPATH": str(wheels[tag])}
    done = subprocess.run(
        [sys.executable, "-c", TRAIN], cwd=tmp_path, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    place, found, crc, packed = json.loads(done.stdout)
    assert place.startswith(str(wheels[tag])) and found == memory
    net = simulated.load(data)
    for i in range(3):
        net.train(bytes([(k * 37 + i) % 256 for k in range(net.input_bytes)]), i)
    assert crc == net.state_crc()
    assert packed == sorted(always_packed(data, "armv6m")) != []


@pytest.mark.slow
def test_the_libraries_want_no_younger_c_library_than_their_tag_says(wheels):
    if wheel.LINUX not in wheels:
        pytest.skip("no wheel for Linux is built here")
    libraries = list((wheels[wheel.LINUX] / "trimtab_tools" / "ready").glob("*.so"))
    assert {path.stem for path in libraries} == {"level", *kernels.LEVELS}
    wanted = tuple(map(int, re.findall(r"\d+", wheel.LINUX)[:2]))
    said = subprocess.run(["objdump", "-T", *libraries], capture_output=True, text=True, check=True).stdout
    versions = {(int(a), int(b)) for a, b in re.findall(r"GLIBC_(\d+)\.(\d+)", said)}
    assert versions and max(versions) <= wanted
