"""The LLVM back end: the typed form as assembly text (emit.py), optimised and linked into an image (compile.py)."""
