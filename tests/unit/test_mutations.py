"""The mutations of bench/mutations.py fit the source as it is."""

import ast

import pytest

from tests.faults.mutations import MUTATIONS, ROOT, edited


@pytest.mark.parametrize("name", MUTATIONS)
def test_each_safeguard_can_still_be_taken_away(name: str) -> None:
    for path, text in edited(name).items():
        assert text != (ROOT / path).read_text()
        if path.endswith(".py"):
            ast.parse(text)
