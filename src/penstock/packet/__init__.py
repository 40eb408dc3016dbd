"""Packets: header layouts declared once, the layout of a packet in memory, integer types, capture files.

Nothing here knows of elements or of how packet code is executed.
"""
