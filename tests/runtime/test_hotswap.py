"""What a hot swap takes along: also the packets that wait within tables."""

import pytest

from penstock import Router
from tests.harness import START_NS, run_until_quiet, use_port_elements
from tests.traffic import Sent, udp

ARP = r"""feed :: Feed -> CheckIPHeader -> GetIPAddress(16) -> [0] q :: ARPQuerier(10.0.0.254, 2:0:0:0:0:1) -> s :: Sink;
a :: Feed -> [1] q;"""


def _replies(*hosts: int) -> list[Sent]:
    """ARP replies of 10.0.0.n."""
    return [Sent(bytes.fromhex("020000000001 0200000000%02x 0806 0001 0800 06 04 0002 0200000000%02x 0a0000%02x 020000000001 0a0000fe"
                               .replace(" ", "") % (n, n, n))) for n in hosts]


@pytest.mark.parametrize("engine", ["compiled", "interpreter"])
def test_packets_that_wait_for_an_address_go_out_after_the_swap(engine: str) -> None:
    use_port_elements()
    waiting = [Sent(udp(1, n, bytes([n]) * 30, dst=f"10.0.0.{host}"), network=0, transport=20)
               for n, host in enumerate((5, 6, 5, 5, 6))]
    with Router.from_text(ARP, engine=engine, simulated_start_ns=START_NS) as old:
        for packet in waiting:
            old.by_name["feed"].send(packet)
        run_until_quiet(old)
        assert all(data[12:14] == b"\x08\x06" for _, data in _received(old))
        old.hotswap(ARP)
        new = old.successor
        assert new is not None
        with new:
            free = new.pool.free
            # Packets that are made meanwhile get none of the buffers in which others wait.
            for n in range(50):
                new.by_name["feed"].send(Sent(udp(1, 77, bytes([n]) * 40, dst="10.0.0.9"), network=0, transport=20))
            for packet in _replies(5, 6, 9):
                new.by_name["a"].send(packet)
            run_until_quiet(new)
            out = [data[14:] for _, data in _received(new) if data[12:14] == b"\x08\x00"]
            assert out[:5] == [waiting[i].data for i in (0, 2, 3, 1, 4)]
            assert sorted(data[28] for data in out[5:]) == list(range(50))
            assert new.pool.free == free + 5


def _received(router: Router) -> list[tuple[int, bytes]]:
    router.drain_host()
    return [(tag, p.data) for tag, p in router.by_name["s"].received]
