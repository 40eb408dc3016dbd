"""Domains: made from domain files, inspected, moved, destroyed; their store and their consoles.

In: domain files and Click configurations, the commands of ``cosmos`` and ``penstock vm``. Out: running domains, their
handlers and their state.
"""

from penstock.toolstack.domain import Domain, DomainError, DomainState
from penstock.toolstack.domainfile import DomainFileError, DomainSpec, VifSpec
from penstock.toolstack.toolstack import DomainInfo, Toolstack

__all__ = ["Domain", "DomainError", "DomainFileError", "DomainInfo", "DomainSpec", "DomainState", "Toolstack", "VifSpec"]
