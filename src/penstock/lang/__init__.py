"""The Click language: lexer, syntax tree with positions, compound elements, flattening, push/pull, arguments.

In comes configuration text; out goes a flat :class:`~penstock.lang.configuration.Configuration`, or diagnostics
that name file, line and column. Nothing here knows what an element does.
"""
