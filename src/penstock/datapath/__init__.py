"""The datapath subset: packet code written in Python, its typed form, and what executes that.

In comes a method marked ``@datapath`` with the object it belongs to (frontend/); the typed form (ir.py) is a closed
set of operations. The interpreter (interpreter.py) gives it its meaning; the LLVM back end (llvm/) makes machine code
of it. Memory, containers, tasks, timers, clock, pool and the rings to the host are here too: they are packet code.
"""
