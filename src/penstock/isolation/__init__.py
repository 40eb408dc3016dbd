"""Machines that run routers apart from everything else: in this process, in a locked-down process, in a virtual machine.
"""
