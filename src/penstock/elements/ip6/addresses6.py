"""How IPv6 elements write addresses and prefixes."""

from __future__ import annotations

import ipaddress

from penstock.lang.arguments import ArgumentError

__all__ = ["parse_prefix6", "unparse_ip6", "unparse_prefix6"]


def parse_prefix6(text: str) -> tuple[int, int]:
    """``3ffe::/16`` as (address, bits); a single address has 128."""
    try:
        network = ipaddress.IPv6Network(text, strict=False)
    except ValueError:
        raise ArgumentError("invalid IPv6 prefix") from None
    return int(network.network_address), network.prefixlen


def unparse_ip6(address: int) -> str:
    return str(ipaddress.IPv6Address(int(address)))


def unparse_prefix6(address: int, bits: int) -> str:
    return f"{unparse_ip6(address)}/{bits}"
