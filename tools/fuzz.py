"""`make fuzz`: damaged files, read and used; whatever comes out is an AttnscopeError. tests/helpers/mutants.py damages them.

Mutant number n is the same in every run with the same seed: --first n --count 1 repeats it.
"""

import argparse
import random
import signal
import sys
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))

import torch

LONGEST = 10  # seconds for one mutant: no small file is worth more
MEMORY = 4 << 30  # bytes that all of it may take beyond what Python and torch have at the start


def limit_memory() -> None:
    """A mutant that allocates what its numbers say fails here, and does not take the machine with it."""
    try:
        import resource

        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))
    except (ImportError, OSError, ValueError):
        print("(this system has no limit of memory: a mutant may take all of it)")


def too_long(*_: Any) -> None:
    raise TimeoutError(f"more than {LONGEST} s")


def main() -> int:
    options = argparse.ArgumentParser(description="Read damaged traces, and use those that can be read.")
    options.add_argument("--count", type=int, default=20_000, help="how many (default: 20000)")
    options.add_argument("--first", type=int, default=0, help="number of the first")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--seconds", type=float, default=1200, help="stop after so long, and fail (default: 1200)")
    given = options.parse_args()
    torch.set_num_threads(1)
    from mutants import attempt, mutant, seeds  # pyright: ignore[reportMissingImports]

    whole = seeds()
    for data in whole:
        assert attempt(data, random.Random(0)) == "loaded"
    limit_memory()
    if hasattr(signal, "SIGALRM"):
        signal.signal(signal.SIGALRM, too_long)
    outcomes: Counter[str] = Counter()
    faults: dict[str, list[int]] = {}
    began = time.monotonic()
    for number in range(given.first, given.first + given.count):
        if time.monotonic() - began > given.seconds:
            break
        chance = random.Random(given.seed << 32 | number)
        damaged = mutant(chance.choice(whole), chance)
        try:
            if hasattr(signal, "alarm"):
                signal.alarm(LONGEST)
            outcomes[attempt(damaged, chance)] += 1
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            found = faults.setdefault(f"{type(error).__name__} at {last.filename}:{last.lineno}", [])
            found.append(number)
            if len(found) == 1:
                print(f"mutant {number}:", file=sys.stderr)
                traceback.print_exception(error)
        finally:
            if hasattr(signal, "alarm"):
                signal.alarm(0)
    broken = sum(map(len, faults.values()))
    done = outcomes.total() + broken
    print(
        f"{done:,} mutants in {time.monotonic() - began:.0f} s: {outcomes['refused']:,} refused, {outcomes['loaded']:,} loaded "
        f"and used, {broken} with another error than ours"
    )
    for kind, numbers in faults.items():
        print(f"  {len(numbers)} × {kind}, first mutant {numbers[0]}")
    if done < given.count:
        print(f"  stopped: {given.count - done:,} were left after {given.seconds:g} s")
    return int(bool(faults) or done < given.count)


if __name__ == "__main__":
    sys.exit(main())
