"""The ``penstock`` command and the original tools' names, as thin entry points over the other rooms.

One file a subcommand (``main.py`` has the list); each has ``add_arguments`` and ``main``. Data goes to standard
output, narration and errors to standard error.
"""
