"""What a survey costs beside the plain forward pass of the same texts; statistics on request, memory, Ray, the atlas.

    python benchmarks/survey.py                      # all parts, each writes its section of benchmarks/RESULTS.md
    python benchmarks/survey.py --parts memory,ray   # some of: pass further memory ray atlas
    python benchmarks/survey.py --quick              # fewer texts, less memory; prints only

`pass`: 10,000 sentences of 8 to 16 words, made here, the demo model, one thread. The rival is the model alone on the same
batches: texts of equal length, no padding, tokenized before. Both in processor time of a process of its own, in turns; the
median ratio counts. `--resume` on the finished survey reads the corpus, folds the parts and writes the atlas again: what that takes
is told apart. `memory`: the largest resident size while text passes by a small model, as short lines and as one line.
"""

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from capture import machine
from results import write_section

WORDS = """time year people way day man thing woman life child world school state family student group country problem hand part place
case week company system program question work government number night point home water room mother area money story fact month lot
right study book eye job word business issue side kind head house service friend father power hour game line end member law car city
the a an of to in for on with at by from is was are were has had will would can could may might and but or not very quite often""".split()
SENTENCES = 10_000
TOKENS_AT_ONCE = 2048
SHARD = 2048
MILLION = 1_000_000


def sentences(count: int) -> list[str]:
    draw = random.Random(1)
    return [" ".join(draw.choices(WORDS, k=draw.randint(8, 16))).capitalize() + "." for _ in range(count)]


def forward(count: int) -> dict[str, float]:
    """The model alone."""
    import torch

    import attnscope

    torch.set_num_threads(1)
    model, tokenizer = attnscope.load("demo")
    by_length: dict[int, list[list[int]]] = defaultdict(list)
    for ids in tokenizer(sentences(count))["input_ids"]:
        by_length[len(ids)].append(ids)
    batches = []
    for length, rows in sorted(by_length.items()):
        step = TOKENS_AT_ONCE // length
        batches += [torch.tensor(rows[first : first + step]) for first in range(0, len(rows), step)]
    with torch.no_grad():
        model(input_ids=batches[0])
        begun, wall = time.process_time(), time.perf_counter()
        for ids in batches:
            model(input_ids=ids, attention_mask=torch.ones_like(ids))
    tokens = sum(ids.numel() for ids in batches)
    return {"seconds": time.process_time() - begun, "wall": time.perf_counter() - wall, "tokens": tokens}


def survey(count: int, engine: str = "local", workers: int = 0) -> dict[str, float]:
    """All of it: tokens, model, statistics, parts, tables."""
    import torch

    import attnscope

    torch.set_num_threads(1)
    model, tokenizer = attnscope.load("demo")
    texts = sentences(count)
    with tempfile.TemporaryDirectory() as folder:
        attnscope.survey(model, tokenizer, texts[:64], f"{folder}/warm", threads=1, examples=0, quiet=True)
        if engine == "ray":
            import ray

            ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        options = {"threads": 1, "shard": SHARD // 4 if workers else SHARD, "examples": 0, "quiet": True}
        begun, wall = time.process_time(), time.perf_counter()
        found = attnscope.survey(
            model, tokenizer, texts, f"{folder}/out", engine=engine, workers=workers or None, **options
        )
        taken = {"seconds": time.process_time() - begun, "wall": time.perf_counter() - wall}
        begun = time.process_time()
        attnscope.survey(model, tokenizer, texts, f"{folder}/out", resume=True, **options)
        taken["again"] = time.process_time() - begun
    return taken | {"tokens": found.tokens}


def further(count: int) -> dict[str, float]:
    """Seconds of the pass with one statistic on request beside those of the model level, by name; "": without one."""
    import torch

    import attnscope
    from attnscope.statistics.further.entries import FURTHER

    torch.set_num_threads(1)
    model, tokenizer = attnscope.load("demo")
    texts, found = sentences(count), dict[str, float]()
    for name in ("warm", "", *FURTHER, "all"):
        names = {"warm": [*FURTHER], "all": [*FURTHER]}.get(name, [name] if name else [])
        with tempfile.TemporaryDirectory() as folder:
            begun = time.process_time()
            attnscope.survey(model, tokenizer, texts, folder, statistics=names, threads=1, examples=0, quiet=True)
            found[name] = time.process_time() - begun
    return found


def memory(megabytes: float, kind: str) -> dict[str, float]:
    """A small model, so that memory is that of the survey. `kind`: "lines" of a file, or all of it as "one" line."""
    import torch
    from transformers import BertConfig, BertModel

    import attnscope

    torch.set_num_threads(1)
    tokenizer = attnscope.load("demo")[1]
    model = BertModel(
        BertConfig(
            vocab_size=len(tokenizer), hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
        )
    ).eval()
    block = (" " if kind == "one" else "\n").join(sentences(2000)) + (" " if kind == "one" else "\n")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "corpus.txt"
        with path.open("w") as file:
            for _ in range(max(1, round(megabytes * MILLION / len(block)))):
                file.write(block)
        found = attnscope.survey(model, tokenizer, path, f"{folder}/out", threads=1, examples=1, quiet=True)
    return {"peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, "texts": found.documents}


def apart(name: str, *values: object) -> dict[str, float]:
    """In a process of its own."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "ATTNSCOPE_COMPILED": "0"}
    command = [sys.executable, __file__, "--run", name, *map(str, values)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    return json.loads(done.stdout.splitlines()[-1])


def pass_lines(quick: bool, count: int, rounds: int, about: str) -> list[str]:
    found = [(apart("forward", count), apart("survey", count)) for _ in range(rounds)]
    plain = statistics.median(one["seconds"] for one, _ in found)
    ours, again = (statistics.median(one[name] for _, one in found) for name in ("seconds", "again"))
    whole = statistics.median(one["seconds"] / rival["seconds"] for rival, one in found)
    alone = statistics.median((one["seconds"] - one["again"]) / rival["seconds"] for rival, one in found)
    tokens = found[0][1]["tokens"]
    said = (
        f"`python benchmarks/survey.py`: {count:,} sentences of 8 to 16 words, the model level's statistics, the demo model. Processor "
        f"time, beside the model alone on the same batches, in turns; medians of {rounds}. {about}"
    )
    return [
        "## A survey",
        "",
        said,
        "",
        "| | |",
        "|-|-|",
        f"| the model alone, {tokens:,.0f} tokens | {plain:.1f} s |",
        f"| the survey | {ours:.1f} s: **{whole:.2f}** times the model alone |",
        f"| of this, reading, tables and atlas (`--resume` when it is finished) | {again:.1f} s |",
        f"| without these: model, statistics, receipts, parts | **{alone:.2f}** times the model alone |",
        f"| a million tokens | {ours / tokens * MILLION:,.0f} s |",
    ]


def further_lines(quick: bool, count: int, rounds: int, about: str) -> list[str]:
    count = min(count, 300)
    plain, found = apart("forward", count)["seconds"], apart("further", count)
    found.pop("warm")
    without, together = found.pop(""), found.pop("all")
    rows = [f"| {name} | {(seconds - without) / plain:.2f} |" for name, seconds in found.items()]
    return [
        "### Statistics on request in a survey",
        "",
        f"What each adds to a survey of {count:,} sentences, as a multiple of the model alone. They take a pass over the weights of each text, which several share. {about}",
        "",
        "| | |",
        "|-|-|",
        *rows,
        f"| all together | {(together - without) / plain:.2f} |",
    ]


def memory_lines(quick: bool, count: int, rounds: int, about: str) -> list[str]:
    rows = []
    for megabytes in (0.2, 1, 3) if quick else (1, 10, 100):
        for kind, said in (("lines", "a sentence a line"), ("one", "one line")):
            found = apart("memory", megabytes, kind)
            rows.append(f"| {megabytes:g} MB, {said} | {found['texts']:,.0f} | {found['peak']:,.0f} MB |")
            print(rows[-1], flush=True)
    return ["### Memory of a survey", "", f"A model of one layer. {about}", "", "| text | texts and windows | largest resident size |", "|-|-|-|", *rows]  # fmt: skip


def ray_lines(quick: bool, count: int, rounds: int, about: str) -> list[str]:
    found = [(apart("survey", count, "local", 0), apart("survey", count, "ray", 2)) for _ in range(rounds)]
    ratio = statistics.median(one["wall"] / two["wall"] for one, two in found)
    said = (
        f"{count:,} sentences; one process of one thread ÷ Ray with two workers of one thread, by the clock, in turns; median of {rounds}: "
        f"**{ratio:.2f}**. A Ray that is running already. {about}"
    )
    return [
        "### Ray beside one process",
        "",
        said,
    ]


def atlas_lines(quick: bool, count: int, rounds: int, about: str) -> list[str]:
    done = subprocess.run([sys.executable, Path(__file__).with_name("atlas.py")], capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    return ["### The atlas", "", "; ".join(done.stdout.split("\n")[:2]) + f", in headless Chromium. {about}"]


PARTS = {"pass": pass_lines, "further": further_lines, "memory": memory_lines, "ray": ray_lines, "atlas": atlas_lines}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--sentences", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--run", nargs="+", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.run:
        name, *values = given.run
        run = {"forward": forward, "survey": survey, "memory": memory, "further": further}[name]
        print(
            json.dumps(
                run(
                    *(float(v) if name == "memory" and v[0].isdigit() else int(v) if v.isdigit() else v for v in values)
                )
            )
        )
        return
    count = given.sentences or (1500 if given.quick else SENTENCES)
    for part in given.parts.split(","):
        lines = PARTS[part](given.quick, count, given.rounds, machine(1))
        print("\n".join(lines), flush=True)
        if not given.quick:
            write_section(f"survey {part}", lines)


if __name__ == "__main__":
    main()
