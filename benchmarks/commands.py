"""How long a command takes, next to the same command as it was before.

    python benchmarks/commands.py            # writes its section of RESULTS.md
    python benchmarks/commands.py --quick    # prints only, fewer rounds

`attnscope check FILE.py:NAME` runs the code in a process of its own. Before, its parent imported torch too; here the old
way is the same command with `import torch` in front. Both run in turn, round after round, so that a busy machine slows
both; the ratio is that of the medians. "First line" is the time until the status line is on stderr; "processor" is the time
of both processes on all cores, which a busy machine changes least.
"""

import argparse
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from results import write_section

CODE = """
import math

def attend(query, key, value):
    return (query @ key.mT / math.sqrt(query.shape[-1])).softmax(-1) @ value
"""
MAIN = "import sys; from attnscope.cli import main; main(sys.argv[1:])"
WAYS = {"torch in both processes": f"import torch; {MAIN}", "torch in the child alone": MAIN}


def run(code: str, *arguments: str) -> tuple[float, float, float]:
    """Seconds of `python -c code arguments`: until the first line on stderr, until the end, on the processor."""
    started, used = time.perf_counter(), processor()
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    process.stderr.readline()
    first = time.perf_counter() - started
    process.stderr.read()
    if process.wait() != 0:
        raise SystemExit(f"expected exit code 0 from {arguments}, got {process.returncode}")
    return first, time.perf_counter() - started, processor() - used


def processor() -> float:
    """Seconds that all processes started from here, and theirs, have spent."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def measure(rounds: int) -> dict[str, list[float]]:
    """The medians of what `run` returns, by way. One round before them warms the disk."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "attention.py")
        file.write_text(CODE)
        times: dict[str, list[tuple[float, float, float]]] = {way: [] for way in WAYS}
        for _ in range(rounds + 1):
            for way, code in WAYS.items():
                times[way].append(run(code, "check", f"{file}:attend"))
    return {way: [statistics.median(one) for one in zip(*all[1:], strict=True)] for way, all in times.items()}


def lines(rounds: int) -> list[str]:
    load = os.getloadavg()[0]
    old, new = measure(rounds).values()
    machine = (
        f"{os.cpu_count()} cores, load {load:.1f} at the start, {platform.system()}, Python {platform.python_version()}"
    )
    about = (
        f"`python benchmarks/commands.py`: `attnscope check FILE.py:NAME` on a sound function, medians of {rounds} rounds in "
        f"which both ways run in turn. Machine: {machine}."
    )
    ratio = [y / x for x, y in zip(old, new, strict=True)]
    table = {**dict(zip(WAYS, (old, new), strict=True)), "new ÷ old": ratio}
    return [
        "## Commands",
        "",
        about,
        "",
        "| `attnscope check` | first line s | total s | processor s |",
        "|-|-|-|-|",
        *(f"| {name} | {' | '.join(f'{x:.2f}' for x in numbers)} |" for name, numbers in table.items()),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="print only, 3 rounds")
    quick = parser.parse_args().quick
    section = lines(3 if quick else 9)
    print("\n".join(section))
    if not quick:
        write_section("commands", section)


if __name__ == "__main__":
    main()
