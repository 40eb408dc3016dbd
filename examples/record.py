"""Record ``office.pcap``: real programs that talk to each other across a router, in network namespaces.

Run it as root: ``python examples/record.py``. It needs ip, tcpdump, curl, dig, dnsmasq, ssh, sshd, ping and iperf3. The
client is 10.1.0.2, the server 10.2.0.2, the router between them records what passes. Nothing is left behind.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
CLIENT, ROUTER, SERVER = (f"pk-{os.getpid()}-{n}" for n in ("client", "router", "server"))


def sh(command: str, *, check: bool = True) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(command, shell=True, check=check, capture_output=True, timeout=60)


@contextlib.contextmanager
def hosts() -> Iterator[None]:
    try:
        for name in (CLIENT, ROUTER, SERVER):
            sh(f"ip netns add {name}")
            sh(f"ip -n {name} link set lo up")
        for name, side, net in ((CLIENT, "c", "10.1.0"), (SERVER, "s", "10.2.0")):
            sh(f"ip link add eth0 netns {name} type veth peer name {side}0 netns {ROUTER}")
            sh(f"ip -n {name} addr add {net}.2/24 dev eth0")
            sh(f"ip -n {name} link set eth0 up")
            sh(f"ip -n {ROUTER} addr add {net}.1/24 dev {side}0")
            sh(f"ip -n {ROUTER} link set {side}0 up")
            sh(f"ip -n {name} route add default via {net}.1")
            # Captured packets are to have the checksums and sizes that would be on a wire.
            sh(f"ip netns exec {name} ethtool -K eth0 tx off gso off tso off gro off", check=False)
        sh(f"ip netns exec {ROUTER} sysctl -qw net.ipv4.ip_forward=1")
        yield
    finally:
        for name in (CLIENT, ROUTER, SERVER):
            sh(f"ip netns del {name}", check=False)


def record(target: Path) -> None:
    servers: list[subprocess.Popen[bytes]] = []

    def serve(command: str, host: str = SERVER) -> None:
        servers.append(subprocess.Popen(f"exec ip netns exec {host} {command}", shell=True, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL))

    with tempfile.TemporaryDirectory() as folder, hosts():
        site = Path(folder) / "site"
        site.mkdir()
        (site / "index.html").write_text("<h1>office</h1>\n" + "<p>lorem ipsum</p>\n" * 400)
        for key in ("host", "user"):
            sh(f"ssh-keygen -q -t ed25519 -N '' -f {folder}/{key}")
        sh(f"chmod 755 {folder} && cp {folder}/user.pub {folder}/authorized && chmod 644 {folder}/authorized && mkdir -p /run/sshd")
        try:
            serve(f"python3 -m http.server 80 --directory {site}")
            serve(f"python3 -m http.server 8080 --directory {site}")
            serve("dnsmasq -k -C /dev/null --no-resolv --no-hosts --port 53 --pid-file= --address=/office.test/10.2.0.2")
            serve(f"/usr/sbin/sshd -D -e -p 22 -h {folder}/host -o AuthorizedKeysFile={folder}/authorized -o StrictModes=no "
                  "-o UsePAM=no -o PidFile=none")
            serve("iperf3 -s")
            time.sleep(1.5)
            serve(f"tcpdump -i c0 -w {target} -U -s 0 ip or arp", ROUTER)
            time.sleep(1)
            run = f"ip netns exec {CLIENT} "
            sh(run + "ping -c 4 -i 0.2 10.2.0.2")
            sh(run + "dig +tries=1 @10.2.0.2 office.test")
            sh(run + "dig +tries=1 @10.2.0.2 nothing.test", check=False)
            for path in ("/", "/missing"):
                sh(run + f"curl -s -o /dev/null http://10.2.0.2{path}")
            sh(run + "curl -s -o /dev/null http://10.2.0.2:8080/")
            sh(run + f"ssh -i {folder}/user -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o BatchMode=yes "
               "root@10.2.0.2 true", check=False)
            sh(run + "iperf3 -c 10.2.0.2 -n 300K -l 1400")
            sh(run + "iperf3 -c 10.2.0.2 -u -b 2M -n 60K -l 1000")
            # A small scan, of closed ports, and one packet that cannot have come from this side.
            for port in (21, 23, 25, 445, 3389):
                sh(run + f"curl -s -m 1 telnet://10.2.0.2:{port} < /dev/null", check=False)
            sh(run + "ping -c 1 -W 1 -I 10.1.0.2 10.2.0.99", check=False)
            time.sleep(1)
        finally:
            for process in reversed(servers):
                process.terminate()
            for process in servers:
                process.wait(10)


if __name__ == "__main__":
    output = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "office.pcap"
    record(output.resolve())
    print(f"{output}: {output.stat().st_size} bytes")
