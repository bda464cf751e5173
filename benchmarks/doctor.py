"""How often `attnscope.check` names the right mistake, and how often it cries wolf.

    python benchmarks/doctor.py            # every corpus in benchmarks/doctor_corpus; writes its section of RESULTS.md
    python benchmarks/doctor.py --quick    # prints only

A corpus is a folder with a manifest.json (benchmarks/doctor_corpus/README.md). A broken file counts as named when every
row listed for it is named and no other is, but for those its manifest tolerates. A sound file counts as a false alarm
when anything at all is found. Folders are reported apart.
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
from pathlib import Path
from typing import Any

import torch
from results import write_section

import attnscope

HERE = Path(__file__).parent


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
    if not entry["rows"]:
        return bool(diagnosis)
    named, wanted = set(diagnosis.rows), set(entry["rows"])
    other = [f for f in diagnosis.findings if f.row is None]
    return wanted <= named and named - wanted <= set(entry["tolerated"]) and not other


def measure(folder: Path) -> tuple[str, list[str]]:
    """A row of the table, and a line for each miss."""
    entries = json.loads((folder / "manifest.json").read_text())["entries"]
    counts = {"sound": [0, 0], "single": [0, 0], "double": [0, 0]}
    missed, seconds = [], []
    for entry in entries:
        suspect = load(folder, entry)
        started = time.perf_counter()
        try:
            diagnosis = attnscope.check(suspect, **entry["options"])
            right, said = judge(entry, diagnosis), ", ".join(f.name for f in diagnosis.findings) or "nothing"
        except attnscope.AttnscopeError as error:
            right, said = False, f"refused: {error}"
        seconds.append(time.perf_counter() - started)
        kind = ("sound", "single", "double")[min(len(entry["rows"]), 2)]
        counts[kind][0] += right
        counts[kind][1] += 1
        if not right:
            missed.append(f"- {folder.name}/{entry['file']}: rows {entry['rows']}, said {said}")
    broken = [a + b for a, b in zip(counts["single"], counts["double"], strict=True)]
    sound = counts["sound"]
    row = (
        f"| {folder.name} | {counts['single'][0]} of {counts['single'][1]} | {counts['double'][0]} of {counts['double'][1]} "
        f"| {broken[0] / max(broken[1], 1):.3f} | {sound[1] - sound[0]} of {sound[1]} "
        f"| {statistics.median(seconds):.2f} | {max(seconds):.2f} |"
    )
    return row, missed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="print only")
    options = parser.parse_args()
    torch.set_num_threads(1)
    attnscope.check(torch.nn.functional.scaled_dot_product_attention)  # the import is not counted
    frozen = HERE / "doctor_corpus/frozen"
    unchanged = subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=frozen, capture_output=True).returncode
    lines = [
        "## Doctor", "",
        ("`python benchmarks/doctor.py` prints these figures. Named right: every row of the manifest named, and no other but "
        "those it tolerates. False alarm: anything found in sound code. Seconds are per check, in process, after import, one thread. "
        f"{platform.system()}, {os.cpu_count()} cores, Python {platform.python_version()}, torch {torch.__version__}."),
        "",
        ("The frozen corpus was written before the doctor and has not been changed since"
        + (" (SHA256SUMS agree)" if not unchanged else " — **SHA256SUMS DO NOT AGREE**")
        + "; its files were read while the doctor was written, so its figures say that the doctor covers them, "
        "not how it does on code it has never met."), "",
        "| corpus | one mistake, named right | two mistakes, both named | sensitivity | false alarms | median s | slowest s |",
        "|-|-|-|-|-|-|-|",
    ]  # fmt: skip
    misses: list[str] = []
    for folder in sorted(path.parent for path in (HERE / "doctor_corpus").glob("*/manifest.json")):
        row, missed = measure(folder)
        lines.append(row)
        misses += missed
    lines += ["", *(["Not right:", "", *misses] if misses else ["Nothing was missed."])]
    print("\n".join(lines))
    if not options.quick:
        write_section("doctor", lines)


if __name__ == "__main__":
    main()
