"""How often `attnscope.check` names the right mistake, and how often it cries wolf.

    python benchmarks/doctor.py            # every corpus in benchmarks/doctor_corpus; writes its section of RESULTS.md
    python benchmarks/doctor.py --quick    # prints only

A corpus is a folder with a manifest.json (benchmarks/doctor_corpus/README.md). A broken file counts as named when every
row listed for it is named and no other is, but for those its manifest tolerates. A sound file counts as a false alarm
when the diagnosis is false: an error, or nothing compared. Warnings on sound files are counted apart. Folders are reported
apart and together; each is pinned by its SHA256SUMS.

What a manifest lists under `names` are ids of findings that have no row in the table of attention bugs; one of them must be named.
"""

import argparse
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from results import write_section

import attnscope

HERE = Path(__file__).parent
KINDS = ("sound", "single", "double")  # by the number of mistakes
OUTCOMES = {  # what may come of sound code, and of broken code
    "sound": ("clean", "not compared", "refused", "accused", "crashed"),
    "broken": ("named", "by another name", "differs", "not compared", "refused", "passed in silence", "crashed"),
}
STORY = {
    "frozen": "written before the doctor and not changed since; its author read it while writing the doctor.",
    "later": "written later by someone who had not seen the doctor's code. On its first run the doctor named 12 of its 18 "
    "mistaken files right and raised 2 false alarms on its 10 sound ones; the doctor was improved since, the files are unchanged.",
    "third": "156 pieces in many hands (functions, numpy, modules, attention of transformers), written in one go before the doctor met them. On "
    "their first run 62 of 100 sound pieces were clean and compared, 19 were accused, 6 not compared, 7 refused, and 4 crashed; of 56 broken ones 22 "
    "were named, and 7 passed in silence. The doctor was improved since.",
    "fourth": "33 pieces of other kinds, chosen from four batches that the doctor met untuned; their figures stand in doctor_corpus/README.md. The "
    "doctor was improved on them.",
    "fifth": "122 pieces in two batches; what the doctor said of each batch untuned stands in doctor_corpus/README.md. It was improved on both since.",
}

ABOUT = (
    "`python benchmarks/doctor.py` prints these figures. Named right: every row of the manifest named, and no other but those it "
    "tolerates. False alarm: sound code with an error, or not compared with anything. Seconds are processor time per check, in "
    "process, after import, one thread: what a check takes where nothing else runs. "
)
COLUMNS = (
    "corpus",
    "files",
    "one mistake, named right",
    "two mistakes, both named",
    "sensitivity",
    "false alarms",
    "warnings on sound code",
    "median s",
    "slowest s",
)


def load(folder: Path, entry: dict[str, Any]) -> Any:
    """The function, or an instance of the module in eval mode."""
    name = f"corpus_{folder.name}_{Path(entry['file']).stem}"
    spec = importlib.util.spec_from_file_location(name, folder / entry["file"])
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    made = getattr(module, entry["object"])
    if entry["kind"] == "function":
        return made
    torch.manual_seed(0)
    return made(**entry.get("kwargs", {})).eval()


def judge(entry: dict[str, Any], diagnosis: Any) -> bool:
    """Whether the diagnosis is right."""
    if not broken(entry):
        return bool(diagnosis)
    wanted, names = set(entry["rows"]), set(entry.get("names", ()))
    named = {f.row for f in diagnosis.findings if f.row is not None and f.name not in names}
    ids = {f.name for f in diagnosis.findings}
    other = [f for f in diagnosis.findings if f.row is None and f.name not in names]
    return (
        wanted <= named and named - wanted <= set(entry["tolerated"]) and bool(ids & names) == bool(names) and not other
    )


def broken(entry: dict[str, Any]) -> bool:
    """Whether there is something to name in it."""
    return bool(entry["rows"] or entry.get("names"))


def outcome(entry: dict[str, Any], diagnosis: Any) -> str:
    """In one word of OUTCOMES, what the diagnosis says of sound code, or of broken code."""
    wrong = [f for f in diagnosis.findings if f.severity == "error"]
    if not broken(entry):
        return "accused" if wrong else "clean" if diagnosis.compared else "not compared"
    if judge(entry, diagnosis):
        return "named"
    if wrong:
        return "differs" if {f.name for f in wrong} <= {"differs", "unlike"} else "by another name"
    return "passed in silence" if diagnosis else "not compared"


@dataclass
class Figures:
    """[right, all] of each kind, the seconds of every check, and a line for each miss."""

    sound: list[int] = field(default_factory=lambda: [0, 0])
    single: list[int] = field(default_factory=lambda: [0, 0])
    double: list[int] = field(default_factory=lambda: [0, 0])
    seconds: list[float] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    warned: int = 0  # sound files with a warning
    outcomes: Counter = field(default_factory=Counter)  # (sound or broken, the outcome)

    def __add__(self, other: "Figures") -> "Figures":
        kinds = ([a + b for a, b in zip(getattr(self, k), getattr(other, k), strict=True)] for k in KINDS)
        return Figures(
            *kinds,
            self.seconds + other.seconds,
            self.missed + other.missed,
            self.warned + other.warned,
            self.outcomes + other.outcomes,
        )

    def row(self, name: str) -> str:
        """Of the table."""
        right, broken = (a + b for a, b in zip(self.single, self.double, strict=True))
        return (
            f"| {name} | {broken + self.sound[1]} | {self.single[0]} of {self.single[1]} | {self.double[0]} of {self.double[1]} "
            f"| {right / max(broken, 1):.3f} | {self.sound[1] - self.sound[0]} of {self.sound[1]} | {self.warned} "
            f"| {statistics.median(self.seconds):.2f} | {max(self.seconds):.2f} |"
        )


def measure(folder: Path) -> Figures:
    """Every file of one corpus."""
    figures = Figures()
    for entry in json.loads((folder / "manifest.json").read_text())["entries"]:
        kind = "broken" if broken(entry) else "sound"
        suspect = load(folder, entry)
        started = time.process_time()
        try:
            diagnosis = attnscope.check(suspect, **entry["options"])
            right, said = judge(entry, diagnosis), ", ".join(f.name for f in diagnosis.findings) or "nothing"
            figures.warned += kind == "sound" and any(f.severity == "warning" for f in diagnosis.findings)
            came = outcome(entry, diagnosis)
        except attnscope.AttnscopeError as error:
            right, said, came = False, f"refused: {error}", "refused"
        except Exception as error:
            right, said, came = False, f"crashed: {type(error).__name__}: {error}", "crashed"
        figures.seconds.append(time.process_time() - started)
        figures.outcomes[kind, came] += 1
        count = getattr(figures, "sound" if kind == "sound" else KINDS[max(1, min(len(entry["rows"]), 2))])
        count[0] += right
        count[1] += 1
        if not right:
            wanted = " or ".join(entry.get("names", ())) or f"rows {entry['rows']}"
            figures.missed.append(f"- {folder.name}/{entry['file']}:{entry['object']}: {wanted}, said {said}")
    return figures


def outcomes(counted: dict[str, Counter]) -> list[str]:
    """A table for sound code and one for broken: how many pieces of each corpus came out how."""
    lines = []
    for kind, names in OUTCOMES.items():
        lines += [f"| {kind} code | pieces | {' | '.join(names)} |", "|-" * (len(names) + 2) + "|"]
        for corpus, count in counted.items():
            here = [count[kind, name] for name in names]
            lines.append(f"| {corpus} | {sum(here)} | {' | '.join(map(str, here))} |")
        lines.append("")
    return lines[:-1]


def pinned(folder: Path) -> str:
    """What SHA256SUMS says of its files."""
    done = subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=folder, capture_output=True)
    return "SHA256SUMS agree" if not done.returncode else "**SHA256SUMS DO NOT AGREE**"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="print only")
    options = parser.parse_args()
    torch.set_num_threads(1)
    attnscope.check(torch.nn.functional.scaled_dot_product_attention)  # the import is not counted
    folders = sorted(path.parent for path in (HERE / "doctor_corpus").glob("*/manifest.json"))
    measured = {folder: measure(folder) for folder in folders}
    together = sum(measured.values(), Figures())
    lines = [
        "## Doctor",
        "",
        ABOUT
        + f"{platform.system()}, {os.cpu_count()} cores, Python {platform.python_version()}, torch {torch.__version__}.",
        "",
        *(
            f"- `{folder.name}` ({pinned(folder)}): {STORY.get(folder.name, 'no history is given.')}"
            for folder in folders
        ),
        "",
        "So these figures say what the doctor covers today. Only the first run on `later` says how it does on code it has never met.",
        "",
        f"| {' | '.join(COLUMNS)} |",
        "|-" * len(COLUMNS) + "|",
        *(figures.row(folder.name) for folder, figures in measured.items()),
        together.row("together"),
        "",
        *outcomes({folder.name: figures.outcomes for folder, figures in measured.items()}),
        "",
        *(["Not right:", "", *together.missed] if together.missed else ["Nothing was missed."]),
    ]
    print("\n".join(lines))
    if not options.quick:
        write_section("doctor", lines)


if __name__ == "__main__":
    main()
