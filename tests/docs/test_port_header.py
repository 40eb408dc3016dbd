"""The C header is the layout: a program built with it exchanges frames with a switch."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from penstock.datapath import ports
from penstock.toolstack.client import socket_path
from penstock.toolstack.openport import RemotePort

FOLDER = Path(__file__).parents[2] / "docs" / "port"


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
def test_the_example_in_c_echoes_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_RUN", str(tmp_path / "run"))
    program = tmp_path / "echo"
    subprocess.run(["gcc", "-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-o", str(program), str(FOLDER / "echo.c")], check=True)
    with RemotePort("vale0:p") as port:
        with subprocess.Popen([program, str(socket_path()), "vale0:echo", "300"], stdout=subprocess.PIPE) as child:
            try:
                assert child.stdout is not None and child.stdout.readline() == b"ready\n"
                for k in range(300):
                    head, body = bytes(range(2, 14)), b"\x08\x00" + os.urandom(20 + 13 * k * (k % 9 == 0))
                    assert port.send(head + body)
                    assert port.receive(5) == head[6:] + head[:6] + body
                assert child.wait(10) == 0
            finally:
                child.kill()
        refused = subprocess.run([program, str(socket_path()), "vale0:p"], capture_output=True, text=True)
        assert refused.returncode == 1 and "vale0:p is there already" in refused.stderr
    nobody = subprocess.run([program, str(tmp_path / "nothing"), "vale0:p"], capture_output=True, text=True)
    assert nobody.returncode == 1 and "No such file" in nobody.stderr and sys.platform == "linux"


def test_the_header_s_numbers_are_ours() -> None:
    text = (FOLDER / "penstock_port.h").read_text()
    for name, value in (("PST_SLOT_BYTES", ports.BUFFER_BYTES), ("PST_HEAD", ports.HEAD), ("PST_TAIL", ports.TAIL), ("PST_STARVED", ports.STARVED),
                        ("PST_LENGTHS", ports.LENGTHS), ("PST_ASLEEP", ports.DOMAIN_WAITING), ("PST_SWITCH_ASLEEP", ports.PEER_WAITING)):
        assert f"{name} = {value}" in text
    assert "#define PST_MORE 0x80000000u" in text and ports.MORE == 0x8000_0000
