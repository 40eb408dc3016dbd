"""The front end: packet code, specialised for one configuration, becomes the typed form (../ir.py).

In comes a method marked @datapath with the object it belongs to; out goes an ir.Function. On the way
constants are folded, loops over constants unrolled, methods inlined, accesses checked, and each packet
followed to its end.
"""

from penstock.datapath.frontend.statements import Translator

__all__ = ["Translator"]
