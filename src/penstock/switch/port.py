"""Where a port's rings lie in the fabric's memory."""
from __future__ import annotations
