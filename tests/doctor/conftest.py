import pytest

from attnscope.doctor.code_check.match import search


@pytest.fixture
def short_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search in order that ends soon: what it tries in vain is not the matter of the test."""
    monkeypatch.setattr(search, "PATIENCE", {"right": 300, "windows": 60, 1: 120, 2: 20})
