"""A packet in memory: one slot of the pool, metadata first, then the buffer.

The metadata has the content of Click's: pointers into the buffer as offsets from the start of the slot,
48 bytes of annotations, a timestamp. One layout for compiled code, interpreter and Python.
"""

from __future__ import annotations

from dataclasses import dataclass

from penstock.packet.integers import IntType

__all__ = [
    "ANNOTATIONS",
    "ANNO_BASE",
    "ANNO_BYTES",
    "BUFFER_OFFSET",
    "DEFAULT_HEADROOM",
    "META",
    "PACKET_TYPES",
    "MetaField",
]


@dataclass(frozen=True, slots=True)
class MetaField:
    offset: int
    type: IntType


_U8, _U16, _U32, _U64 = IntType(8), IntType(16), IntType(32), IntType(64)

#: offsets of data, mac, network and transport are from the start of the slot; 0 means "not set"
META = {
    "data": MetaField(0, _U32),
    "length": MetaField(4, _U32),
    "mac": MetaField(8, _U32),
    "network": MetaField(12, _U32),
    "transport": MetaField(16, _U32),
    "packet_type": MetaField(20, _U32),
    "next": MetaField(24, _U64),
    "timestamp": MetaField(32, _U64),
    "device": MetaField(40, _U32),
    "extra_length": MetaField(44, _U32),
}
ANNO_BASE = 48
ANNO_BYTES = 48
#: 128 bytes keep the buffer on a cache line of its own
BUFFER_OFFSET = 128
#: room in front of the data for encapsulation, where nothing else is asked for
DEFAULT_HEADROOM = 64

#: Click's names for annotations (include/click/packet_anno.hh): name -> (offset, bytes)
ANNOTATIONS: dict[str, tuple[int, int]] = {
    "DST_IP": (0, 4), "DST_IP6": (0, 16), "PAINT": (16, 1), "ICMP_PARAMPROB": (17, 1), "FIX_IP_SRC": (19, 1),
    "VLAN_TCI": (20, 2), "AGGREGATE": (20, 4), "FWD_RATE": (20, 4), "MISC_IP": (20, 4),
    "EXTRA_PACKETS": (24, 4), "REV_RATE": (24, 4), "SEND_ERR": (26, 1), "GRID_ROUTE_CB": (27, 1),
    "IPREASSEMBLER": (28, 4), "EXTRA_LENGTH": (28, 4), "FIRST_TIMESTAMP": (32, 8), "PACKET_NUMBER": (32, 4),
    "IPSEC_SPI": (32, 4), "SEQUENCE_NUMBER": (36, 4), "PERFCTR": (40, 8), "IPSEC_SA_DATA_REFERENCE": (40, 8),
}

#: Linux's packet types, in the order of linux/if_packet.h
PACKET_TYPES = ("HOST", "BROADCAST", "MULTICAST", "OTHERHOST", "OUTGOING", "LOOPBACK", "FASTROUTE")
