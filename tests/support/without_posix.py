"""Imports all of ours, then runs the command, where nothing is left of what only POSIX systems have.

The argument is a JSON list of the command's words, a list for each run.

What trimtab stands on is imported first: it has its own ways on other systems.
"""

import concurrent.futures.process  # noqa: F401
import importlib
import json
import multiprocessing.connection  # noqa: F401
import os
import pkgutil
import select
import signal
import subprocess  # noqa: F401
import sys
import tempfile  # noqa: F401

import filelock  # noqa: F401
import mpremote.transport_serial  # noqa: F401
import numpy  # noqa: F401
import rich.progress  # noqa: F401
import serial.tools.list_ports  # noqa: F401
import serial.urlhandler.protocol_socket  # noqa: F401
import wasmtime  # noqa: F401

MODULES = "curses fcntl grp pty pwd readline resource syslog termios tty".split()
NAMES = {
    os: "chown fork geteuid getgid getpgid getuid killpg mkfifo openpty setsid statvfs sysconf uname".split(),
    select: ["poll"],
    signal: ["SIGKILL", "SIGHUP", "SIGUSR1", "setitimer", "alarm"],
}


def hide():
    for name in MODULES:
        sys.modules[name] = None
    for module, names in NAMES.items():
        for name in names:
            delattr(module, name)


def import_all():
    """Every module of the library and of the host tools; prints how many they are."""
    import trimtab
    import trimtab_tools

    found = [
        module.name
        for package in (trimtab, trimtab_tools)
        for module in pkgutil.walk_packages(package.__path__, package.__name__ + ".")
    ]
    ours = [
        name for name in found if not name.startswith("trimtab_tools.firmware") and "__main__" not in name
    ]
    for name in ours:
        importlib.import_module(name)
    print(len(ours))


def run(words):
    from trimtab_tools import cli

    code = cli.main(words)
    assert code == 0, (words, code)


if __name__ == "__main__":
    hide()
    import_all()
    for words in json.loads(sys.argv[1]):
        run(words)
