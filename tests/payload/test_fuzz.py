"""Damaged payloads: refused with our own error, or whole enough for everything that is done with a trace."""

import random

import pytest

from mutants import attempt, joined, mutant, parts, seeds

FIRST, COUNT = 1_000_000, 150  # other mutants than the first of `make fuzz`


@pytest.fixture(scope="module")
def whole() -> list[bytes]:
    return seeds()


def test_what_is_not_damaged_loads(whole: list[bytes]) -> None:
    for data in whole:
        assert attempt(data, random.Random(0)) == "loaded"
        assert attempt(joined(*parts(data)), random.Random(1)) == "loaded"  # taken apart and put together


def test_mutants(whole: list[bytes]) -> None:
    outcomes = []
    for number in range(FIRST, FIRST + COUNT):
        chance = random.Random(number)
        damaged = mutant(chance.choice(whole), chance)
        try:
            outcomes.append(attempt(damaged, chance))
        except Exception as error:
            raise AssertionError(f"mutant {number}") from error
    assert outcomes.count("refused") > COUNT / 3
    assert outcomes.count("loaded") > COUNT / 10


def test_the_same_seed_gives_the_same_bytes(whole: list[bytes]) -> None:
    made = [[mutant(whole[n % len(whole)], random.Random(n)) for n in range(20)] for _ in range(2)]
    assert made[0] == made[1]
    assert len(set(made[0])) > 15
