"""Ports: what is not there, in use or gone is said; a board is found where it was plugged in again."""

import os

import pytest
from trimtab_tools.errors import LinkError
from trimtab_tools.link import transport
from trimtab_tools.link.client import Client
from trimtab_tools.link.transport import Process, Serial


def test_ports_that_are_not_there():
    with pytest.raises(LinkError, match="port /dev/nowhere is not there"):
        Serial("/dev/nowhere")
    with pytest.raises(LinkError, match="port socket://127.0.0.1:1 is not there"):
        Serial("socket://127.0.0.1:1")
    with pytest.raises(LinkError, match="no-such-program cannot be started"):
        Process(["no-such-program"])


def test_a_port_that_is_in_use():
    _, far = os.openpty()
    first = Serial(os.ttyname(far))
    with pytest.raises(LinkError, match="is in use: close the program that has it open"):
        Serial(os.ttyname(far))
    first.close()


def test_a_program_that_ends_says_so():
    client = Client(lambda: Process(["false"]))
    with pytest.raises(LinkError, match="false ended with exit code 1|takes no data"):
        client.connect()


def test_a_board_is_found_under_its_new_port():
    boards_here, names = {}, []
    for _ in range(3):
        _, far = os.openpty()
        names.append(os.ttyname(far))
    cable = transport.Cable(names[0], lambda: boards_here)
    boards_here.update({names[0]: (1, 2, "mine"), names[1]: (1, 2, "other")})
    cable().close()
    boards_here.clear()
    boards_here.update({names[0]: (1, 2, "other"), names[2]: (1, 2, "mine")})
    line = cable()
    assert line.url == names[2]
    line.close()
    boards_here.clear()  # between: the last name is tried
    cable().close()
    assert cable.url == names[2]
