"""What a survey costs beside the plain forward pass of the same texts, its memory, and Ray beside one process.

    python benchmarks/survey.py            # ten minutes or so; writes its section of benchmarks/RESULTS.md
    python benchmarks/survey.py --quick    # fewer texts, less memory; prints only

10,000 sentences of 8 to 16 words, made here, the demo model, one thread. The rival is the model alone on the same batches: texts of
equal length, no padding, tokenized before. Both in processor time of a process of its own, in turns; the median ratio counts. Memory
is the largest resident size while 1, 10 and 100 MB of text pass by a small model.
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


def survey(count: int, engine: str = "local", workers: int = 1) -> dict[str, float]:
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

            ray.init(address="local", include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        begun, wall = time.process_time(), time.perf_counter()
        found = attnscope.survey(
            model, tokenizer, texts, f"{folder}/out", threads=1, shard=SHARD // 4 if workers > 1 else SHARD,
            engine=engine, workers=workers, examples=0, quiet=True,
        )  # fmt: skip
        taken = {"seconds": time.process_time() - begun, "wall": time.perf_counter() - wall}
    return taken | {"tokens": found.tokens}


def memory(megabytes: float) -> dict[str, float]:
    """A small model, so that memory is that of the survey."""
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
    texts = sentences(2000)

    def corpus():
        left = megabytes * MILLION
        while left > 0:
            for text in texts:
                yield text
                left -= len(text)

    with tempfile.TemporaryDirectory() as folder:
        found = attnscope.survey(model, tokenizer, corpus(), f"{folder}/out", threads=1, examples=0, quiet=True)
    return {"peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, "texts": found.documents}


def apart(name: str, *values: object) -> dict[str, float]:
    """In a process of its own."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "ATTNSCOPE_COMPILED": "0"}
    command = [sys.executable, __file__, "--run", name, *map(str, values)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--run", nargs="+", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.run:
        name, *values = given.run
        run = {"forward": forward, "survey": survey, "memory": memory}[name]
        print(json.dumps(run(*(float(v) if name == "memory" else int(v) if v.isdigit() else v for v in values))))
        return
    count = 1500 if given.quick else SENTENCES
    rounds = [(apart("forward", count), apart("survey", count)) for _ in range(given.rounds)]
    ratio = statistics.median(ours["seconds"] / plain["seconds"] for plain, ours in rounds)
    plain, ours = (statistics.median(one[place]["seconds"] for one in rounds) for place in (0, 1))
    tokens = rounds[0][1]["tokens"]
    lines = [
        "| what | |",
        "|-|-|",
        f"| {count:,} sentences, {tokens:,.0f} tokens: the model alone | {plain:.1f} s of a processor |",
        f"| the survey of them | {ours:.1f} s |",
        f"| survey ÷ model alone, median of {given.rounds} | **{ratio:.2f}** |",
        f"| a million tokens | {ours / tokens * MILLION:,.0f} s of a processor |",
    ]
    for megabytes in (0.2, 1, 3) if given.quick else (1, 10, 100):
        found = apart("memory", megabytes)
        lines.append(
            f"| largest memory, {megabytes:g} MB of text, {found['texts']:,.0f} texts | {found['peak']:,.0f} MB |"
        )
    one, ray = apart("survey", count, "local", 1), apart("survey", count, "ray", 2)
    lines.append(f"| one process ÷ Ray with 2 workers, by the clock | {one['wall'] / ray['wall']:.2f} |")
    print("\n".join(lines))
    if not given.quick:
        write_section("survey", "python benchmarks/survey.py", lines)


if __name__ == "__main__":
    main()
