"""Test files in the format of Click's regression tests (testie): a script, its files, and what it must print.

In: a file. Out: :class:`Outcome`, with each difference and its place. It knows shells and text, and nothing of the data plane.
"""

from penstock.testing.runner import Outcome, run_test
from penstock.testing.testfile import TestFile, TestFileError, parse_test

__all__ = ["Outcome", "TestFile", "TestFileError", "parse_test", "run_test"]
