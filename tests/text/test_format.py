"""Numbers in words, where two of them must be told apart."""

import pytest

from attnscope.editing.band import Band as BandOfDraws
from attnscope.head_effects.band import Band
from attnscope.text.format import chance, digits_apart


@pytest.mark.parametrize(
    ("value", "digits"),
    [(1.7, 3), (0.5, 3), (1.7204, 4), (1.72004, 5), (-0.1003, 4), (1.72, 3), (1.7200000000001, 8)],
)
def test_a_value_beyond_a_range_is_told_from_its_ends(value: float, digits: int) -> None:
    assert digits_apart(value, -0.1, 1.72) == digits


def test_a_band_is_written_beside_its_effect() -> None:
    assert str(Band(-0.1, 1.72, 19, 0)) == "-0.100 to +1.720, 19 others of its layer"
    assert Band(-0.1, 1.72, 19, 0).beside(1.7204).startswith("-0.1000 to +1.7200, ")
    band = BandOfDraws((1.72, -0.1, 0.3), (("L2H1",), ("L2H3",), ("L2H5",)), 0, 3, 0)
    assert band.beside(1.7204).startswith("-0.1000 to +1.7200, 3 draws")


@pytest.mark.parametrize(
    ("probability", "words"),
    [(0.9229, "92.3%"), (0.0, "0.0%"), (0.0005, "0.1%"), (3.14e-5, "0.0031%"), (2e-12, "2e-10%")],
)
def test_a_small_probability_is_not_written_as_none(probability: float, words: str) -> None:
    assert chance(probability) == words
