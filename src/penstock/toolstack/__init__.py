"""Domains: made from domain files, inspected, moved, destroyed; their store and their consoles.

In: domain files and Click configurations, the commands of ``cosmos`` and ``penstock vm``. Out: running domains, their
handlers and their state. What is exported is imported when it is first used: the command line needs little of it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from penstock.toolstack.client import Client
    from penstock.toolstack.domain import Domain, DomainState
    from penstock.toolstack.domainfile import DomainFileError, DomainSpec, VifSpec
    from penstock.toolstack.errors import DomainError
    from penstock.toolstack.toolstack import DomainInfo, Toolstack

__all__ = ["Client", "Domain", "DomainError", "DomainFileError", "DomainInfo", "DomainSpec", "DomainState", "Toolstack", "VifSpec"]

_HOME = {"Client": "client", "Domain": "domain", "DomainState": "domain", "DomainFileError": "domainfile", "DomainSpec": "domainfile",
         "VifSpec": "domainfile", "DomainError": "errors", "DomainInfo": "toolstack", "Toolstack": "toolstack"}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(name)
    return getattr(importlib.import_module(f"penstock.toolstack.{_HOME[name]}"), name)
