"""Machines that run routers apart from everything else: in this process, in a locked-down process, in a virtual machine.

In: a template (a configuration made ready once) and the ports of its interfaces. Out: a machine that runs it, whose memory
the host reads and writes through the declared layout. All three run the same image with the same results.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from penstock.isolation.machine import Machine

__all__ = ["ISOLATIONS", "choose", "machine_class"]

ISOLATIONS = ("kvm", "process", "inline")


def machine_class(isolation: str) -> type[Machine]:
    """The class of machines of that kind."""
    match isolation:
        case "kvm":
            from penstock.isolation.kvm import KvmMachine

            return KvmMachine
        case "process":
            from penstock.isolation.process import ProcessMachine

            return ProcessMachine
        case "inline":
            from penstock.isolation.machine import Machine

            return Machine
    raise ValueError(f"isolation must be one of {', '.join(ISOLATIONS)}, not '{isolation}'")


def choose() -> tuple[str, str]:
    """The best isolation that there is here, and why it is not a better one."""
    from penstock.isolation.kvm import why_not

    reason = why_not()
    return ("process", reason) if reason else ("kvm", "")
