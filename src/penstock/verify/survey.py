"""What a network does with all addresses, in words and for programs."""

from __future__ import annotations

from typing import Any

from penstock.verify.classes import Classes
from penstock.verify.describe import describe_numbers

__all__ = ["as_dict", "survey"]

_MOST_ENDS = 8


def survey(classes: Classes) -> list[str]:
    """Loops first, then for each host what becomes of what it sends, the most addresses first."""
    count = classes.count
    lines = [f"{count:,} class{'' if count == 1 else 'es'} of destination addresses, from {len(classes.first)} hosts"]
    lines += [f"LOOP: {' → '.join([*loop.boxes, loop.boxes[0]])}: packets of {loop.source} to "
              f"{describe_numbers('ip.dst', loop.addresses, 32)}" for loop in classes.loops] or ["no loops"]
    for host in classes.first:
        found = sorted(classes.ends_from(host).items(), key=lambda item: -item[1].size)
        lines.append(f"{host}: packets to")
        lines += [f"    {describe_numbers('ip.dst', numbers, 32)} {end}" for end, numbers in found[:_MOST_ENDS]]
        if len(found) > _MOST_ENDS:
            lines.append(f"    and {len(found) - _MOST_ENDS} more ends")
    return lines


def as_dict(classes: Classes) -> dict[str, Any]:
    """The same with every interval of addresses, as numbers (first, last)."""
    return {
        "classes": classes.count,
        "loops": [{"boxes": loop.boxes, "source": loop.source, "addresses": loop.addresses.parts} for loop in classes.loops],
        "hosts": {host: [{"kind": end.kind, "node": end.node, "text": end.text, "addresses": numbers.parts}
                         for end, numbers in classes.ends_from(host).items()] for host in classes.first},
    }
