"""A web server on lwIP at a port of a switch, fetched by curl from the host and from a peer: several stacks share a host's addresses."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import needs_root

SOURCE = Path(__file__).parents[2] / "docs" / "port" / "http.c"
PROGRAM = """
import subprocess, sys, time
from penstock.toolstack import Client
from penstock.toolstack.client import socket_path
program, peer, folder = sys.argv[1:]
def ip(words): subprocess.run(["ip", *words.split()], check=True)
def curl(url, where=()): return subprocess.run([*where, "curl", "-s", "-m", "10", url], capture_output=True).stdout
def serve(port, address, mac, number):
    child = subprocess.Popen([program, str(socket_path()), port, address, mac, number], stdout=subprocess.PIPE)
    assert child.stdout.readline() == b"ready\\n"
    children.append(child)
def claim(*words): return client.switch_command(switch="vale0", command=["claim", *words])
children = []
ip("link set lo up")
ip(f"netns add {peer}")
try:
    with Client() as client:
        client.switch_make(switch="vale0", module="three-tuple host=tap0 uplink=v0")
        client.switch_tap(name="vale0:tap0")
        ip("link set tap0 address 02:00:00:00:00:01")
        ip("addr add 10.9.0.1/24 dev tap0")
        ip(f"link add v0 type veth peer name p0 netns {peer}")
        ip("link set v0 up")
        ip(f"-n {peer} addr add 10.9.0.7/24 dev p0")
        ip(f"-n {peer} link set p0 up")
        client.switch_attach(name="vale0:v0")
        outside = ["ip", "netns", "exec", peer]
        children.append(subprocess.Popen([sys.executable, "-m", "http.server", "8000", "-b", "10.9.0.1", "-d", folder],
                                         stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        time.sleep(1)
        serve("vale0:www", "10.9.0.2/24", "02:00:00:00:00:02", "80")
        print("unclaimed", curl("http://10.9.0.2/", ("timeout", "1")) == b"")
        claim("10.9.0.2", "tcp", "80", "www")
        for where in ([], outside):
            print("page", b"stack of its own" in curl("http://10.9.0.2/", where))
            print("large", curl("http://10.9.0.2/bytes/1000000", where) == b"x" * 1_000_000)
        # The host's own address, shared: one port number is the stack's, another one the host's.
        serve("vale0:shared", "10.9.0.1/24", "02:00:00:00:00:01", "8080")
        try:
            claim("10.9.0.1", "tcp", "8000", "shared")
        except Exception as error:
            print(error)
        claim("10.9.0.1", "tcp", "8080", "shared")
        print("shared", b"stack of its own" in curl("http://10.9.0.1:8080/", outside), curl("http://10.9.0.1:8000/file", outside))
        client.shutdown()
finally:
    for child in children:
        child.kill()
        child.wait()
    subprocess.run(["ip", "netns", "del", peer], check=False)
"""


def _flags() -> list[str] | None:
    if shutil.which("pkg-config") is None or shutil.which("gcc") is None:
        return None
    found = subprocess.run(["pkg-config", "--cflags", "--libs", "lwip"], capture_output=True, text=True)
    return found.stdout.split() if found.returncode == 0 else None


@needs_root()
@pytest.mark.skipif(_flags() is None, reason="needs gcc, pkg-config and lwIP (apt install liblwip-dev)")
@pytest.mark.skipif(not all(map(shutil.which, ("unshare", "ip", "curl"))), reason="needs unshare, ip and curl")
def test_curl_fetches_from_a_stack_of_its_own(tmp_path: Path) -> None:
    program, folder = tmp_path / "http", tmp_path / "served"
    subprocess.run(["gcc", "-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-o", str(program), str(SOURCE), *(_flags() or [])], check=True)
    folder.mkdir()
    (folder / "file").write_text("the host's")
    done = subprocess.run(["unshare", "--net", "--mount", sys.executable, "-c", PROGRAM, str(program), "penstock-stack-peer", str(folder)],
                          capture_output=True, text=True, timeout=120, env={**os.environ, "PENSTOCK_RUN": str(tmp_path / "run")})
    out = done.stdout
    assert done.returncode == 0, out + done.stderr
    assert "unclaimed True" in out, out
    assert out.count("page True") == 2 and out.count("large True") == 2, out
    assert "10.9.0.1 tcp 8000 is in use by a socket of this host" in out, out
    assert "shared True b\"the host's\"" in out, out
