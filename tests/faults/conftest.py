"""The end of each program's output comes with a failure's report."""

from tests.acceptance.conftest import pytest_runtest_makereport

__all__ = ["pytest_runtest_makereport"]
