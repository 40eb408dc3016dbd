"""The command lines: ``penstock``, and ``click`` with the original's options and output."""
