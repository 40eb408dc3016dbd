"""A router at work: elements put together, their memory, the image, the driver, handlers and sockets.

In comes a flat configuration; out goes a Router that runs, answers handlers and is taken down again.
"""
