"""The second core of an RP2040: a thread there serves a box of memory, through which kernels share records.

There is one box for all networks. A program that wants the core for a thread of its own calls release(), or
loads its networks with cores=1.
"""

import gc
import sys
import time

HEAD = (
    512  # bytes of a box in front of the scratch memory: what firmware/kernels/cores.h keeps there, and some
)
MOST = 16 * 1024  # bytes of scratch memory: more does not make it faster
STACK = 2048  # bytes of the thread: kernels take half of it
RESERVE = 12 * 1024  # bytes of heap that are left to Python
PATIENCE_MS = 100

box = None  # while the core serves it


def share(kernels, scratch):
    """(box, "") once core 1 works for these kernels, with so many bytes of scratch; else (None, why not)."""
    global box
    if box and box[0]:
        return box, ""
    box = None
    if not hasattr(kernels, "serve") or sys.platform != "rp2":
        return None, "these kernels are for one core"
    if sys.implementation.version < (1, 25):  # writing flash would hang after a soft reset
        return None, "MicroPython before 1.25 cannot share: run `trimtab flash`"
    made = _with_room(min(scratch, MOST)) or _with_room(min(scratch, MOST) // 2)
    if not made:
        return None, "its thread and scratch memory do not fit into the heap: compile with a smaller --ram"
    why = _start(kernels, made)
    if not why:
        box = made
    return box, why


def release():
    """Send core 1 away. Networks go on with one core; the next load() takes both again."""
    global box
    if box:
        box[0] = 0
        time.sleep_ms(1)  # it wakes, because the system's locks are events
    box = None


def _with_room(scratch):
    gc.collect()
    if gc.mem_free() < HEAD + scratch + STACK + RESERVE:
        return None
    try:
        return bytearray(HEAD + scratch)
    except MemoryError:  # there is room, but not in one piece
        return None


def _start(kernels, made):
    """Returns why it did not start."""
    import _thread

    before = _thread.stack_size(STACK)
    try:
        _thread.start_new_thread(kernels.serve, (made,))
    except OSError:
        return "a thread of your program has it"
    except MemoryError:
        return "its thread does not fit into the heap: compile with a smaller --ram"
    finally:
        _thread.stack_size(before)
    for _ in range(PATIENCE_MS):
        if made[0]:
            return ""
        time.sleep_ms(1)
    return "it did not start"
