"""What the statistics, pictures and strongest links of every head cost, beside one fp32 attention of the same tensors.

    python benchmarks/head_statistics.py            # some minutes; writes its section of benchmarks/RESULTS.md
    python benchmarks/head_statistics.py --quick    # up to 512 tokens, one thread; prints only

The rival is torch's F.scaled_dot_product_attention of q, k, v of 12 heads with the same mask. All take turns; where
there are several threads, after a pause in which torch's go to sleep. A ratio is taken within a round, of processor time, and the median over rounds
counts. The text's tokens are drawn by Zipf's law, so that as many come again as in a real one. Errors are against all
weights at once, in fp64, up to 512 tokens: of a statistic as a part of its largest value over the heads, of a picture
in weight. AVX2: torch, MKL and numba are told to leave AVX-512 alone.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import torch
from results import write_section

HEADS, VOCABULARY = 12, 30_000
LENGTHS = {64: (128, 512, 2048, 8192), 32: (512, 2048)}  # by head size
MASKS = ("none", "causal")
DENSE = 512  # tokens up to which all weights are held at once
LONG = 8192  # from here on plain torch, three times slower, is left out
ROW = 16_384  # tokens of the site of which one query is asked
PAUSE = 0.01  # seconds
SWITCH = "ATTNSCOPE_COMPILED"
AVX2 = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "NUMBA_CPU_NAME": "haswell",
    "NUMBA_CPU_FEATURES": "+sse,+sse2,+sse3,+ssse3,+sse4.1,+sse4.2,+popcnt,+avx,+avx2,+bmi,+bmi2,+fma,+f16c,+lzcnt,+movbe,+cx16,+64bit,+cmov",
}


def made(length: int, mask: str, size: int):
    """A site and its pairs."""
    from attnscope.statistics.pairs import Pairs
    from attnscope.tracing.masks import NO_MASK, causal_rule
    from attnscope.tracing.site import Site

    torch.manual_seed(length)
    q, k, v = (torch.randn(HEADS, length, size) * 1.5 for _ in range(3))
    site = Site(q, k, v, size**-0.5, mask=NO_MASK if mask == "none" else causal_rule(length, length))
    return site, Pairs(site, *[text(length)] * 2)


def measure(length: int, mask: str, size: int, rounds: int) -> dict[str, float]:
    """Ratios, milliseconds and errors of one length and mask, with the threads that torch has."""
    from attnscope.statistics.compute import sums_of

    site, pairs = made(length, mask, size)

    def attention() -> None:
        torch.nn.functional.scaled_dot_product_attention(
            site.q[None], site.k[None], site.v[None], is_causal=mask == "causal"
        )

    def ours(switch: str) -> Callable[[], None]:
        def run() -> None:
            os.environ[SWITCH] = switch
            sums_of(site, pairs, 48)

        return run

    ways = {"attention": attention, "compiled": ours("1")} | ({} if length >= LONG else {"plain": ours("0")})
    times = [{name: cost(run) for name, run in ways.items()} for _ in range(rounds + 1)][1:]
    found = {"attention": 1e3 * statistics.median(t["attention"][0] for t in times)}
    for name in list(ways)[1:]:
        found[name] = statistics.median(t[name][0] / t["attention"][0] for t in times)
        found[f"{name} wall"] = statistics.median(t[name][1] / t["attention"][1] for t in times)
    os.environ[SWITCH] = "1"
    return found | (errors(site, pairs) if length <= DENSE else {})


def one_query() -> dict[str, float]:
    """Milliseconds of one query in all heads of a site of ROW tokens; the first time, and of the product in it alone."""
    from attnscope.tracing.output_projection import Projection

    site, _ = made(ROW, "causal", 64)
    projection, query = Projection(torch.randn(768, 768)), ROW - 5
    block, written = torch.randn(64, 64), torch.empty(ROW, 64)

    def product() -> None:
        for value in site.v:
            torch.mm(value, block, out=written)

    rows = []
    for _ in range(12):
        own = replace(site, projection=projection)  # which knows no norms yet
        ways = {
            "share, the first time": lambda own=own: own.share(None, query),
            "weights": lambda own=own: own.weights(None, [query]),
            "share": lambda own=own: own.share(None, query),
            "product": product,
        }
        rows.append({name: cost(run) for name, run in ways.items()})
    return {
        f"{name}{clock}": 1e3 * statistics.median(row[name][at] for row in rows[1:])
        for name in rows[0]
        for at, clock in enumerate(("", " wall"))
    }


def torch_compile(length: int) -> dict[str, float | str]:
    """The ratio of torch.compile: entropy, largest weight, what keys receive and the strongest query of each, no more."""
    site, _ = made(length, "none", 64)

    def numbers(q: torch.Tensor, k: torch.Tensor) -> tuple[torch.Tensor, ...]:
        scores = q @ k.mT * site.scaling
        top = scores.amax(-1, keepdim=True)
        powers = (scores - top).exp()
        total = powers.sum(-1, keepdim=True)
        weights = powers / total
        entropy = total.log()[..., 0] - (weights * (scores - top)).sum(-1)
        return entropy.sum(-1), weights.amax(-1).sum(-1), weights.sum(-2), weights.amax(-2)

    def attention() -> None:
        torch.nn.functional.scaled_dot_product_attention(site.q[None], site.k[None], site.v[None])

    try:
        made_fast = torch.compile(numbers, dynamic=False)

        def blocks() -> None:
            for start in range(0, length, 64):
                made_fast(site.q[:, start : start + 64], site.k)

        with torch.no_grad():
            before = time.process_time()
            blocks()
            first = time.process_time() - before
            times = [(cost(attention), cost(blocks)) for _ in range(12)]
    except Exception as error:  # without a C++ compiler
        return {"error": f"{type(error).__name__}: {str(error).splitlines()[0][:100]}"}
    return {"ratio": statistics.median(b[0] / a[0] for a, b in times), "first": first}


def cost(run: Callable[[], None]) -> tuple[float, float]:
    """Seconds of processor, and by the clock."""
    if torch.get_num_threads() > 1:
        time.sleep(PAUSE)
    before = time.process_time(), time.perf_counter()
    run()
    return time.process_time() - before[0], time.perf_counter() - before[1]


def text(length: int):
    """[CLS], words by Zipf's law, [SEP]."""
    from attnscope.tracing.tokens import Tokens

    weights = 1 / torch.arange(1, VOCABULARY + 1).float()
    drawn = torch.multinomial(weights, length - 2, replacement=True).tolist()
    special = (True, *[False] * (length - 2), True)
    return Tokens(("[CLS]", *(f"w{number}" for number in drawn), "[SEP]"), special=special)


def errors(site, pairs) -> dict[str, float]:
    """The largest error of a statistic and of a picture, against all weights at once."""
    from attnscope.statistics.compute import sums_of

    scores = torch.einsum("hqd,hkd->hqk", site.q.double(), site.k.double()) * site.scaling
    rows = torch.arange(site.queries)
    allowed = site.mask.allowed(rows, site.keys)
    weights = scores.masked_fill(~allowed, -torch.inf).softmax(-1)
    found = sums_of(site, pairs, 48).finish()
    apart = (rows - rows[:, None]).abs()
    previous = weights.diagonal(-1, 1, 2)
    expected = {
        "entropy": torch.special.entr(weights).sum(-1).mean(-1),
        "confidence": weights.amax(-1).mean(-1),
        "distance": (weights * apart).sum((1, 2)) / site.queries,
        "itself": weights.diagonal(0, 1, 2).mean(-1),
        "previous": previous.mean(-1),
    }
    worst = max(
        float((torch.tensor(found.statistics[name]).double() - value).abs().max() / value.abs().max())
        for name, value in expected.items()
    )
    side = found.patches.pooled.shape[1]
    patch = (torch.arange(site.queries) + 1) * side - 1
    tall = torch.zeros(HEADS, side, site.keys, dtype=torch.float64)
    at = (patch // site.queries)[None, :, None].expand_as(weights)
    wide = tall.scatter_reduce(1, at, weights, "amax")
    at = (patch // site.queries)[None, None].expand_as(wide)
    pooled = torch.zeros(HEADS, side, side, dtype=torch.float64).scatter_reduce(2, at, wide, "amax")
    return {"error": worst, "picture": float((found.patches.pooled - pooled).abs().max())}


def child(task: str, threads: int, lengths: dict[int, tuple[int, ...]], **environment: str) -> list[dict]:
    """The same in a fresh process with so many threads."""
    asked = [sys.executable, __file__, "--task", task, "--threads", str(threads), "--lengths", json.dumps(lengths)]
    own = {"OMP_NUM_THREADS": str(threads), SWITCH: "1"}
    done = subprocess.run(asked, env={**os.environ, **own, **environment}, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def table(rows: list[dict]) -> list[str]:
    said = [
        "| | threads | head size | mask | T | attention ms | compiled ÷ attention | by the clock | plain torch ÷ attention | by the clock | error | of a picture |",
        "|-|-|-|-|-|-|-|-|-|-|-|-|",
    ]
    for row in rows:
        ratios = (f"{row[name]:.2f}" if name in row else "–" for name in ("compiled wall", "plain", "plain wall"))
        known = (f"{row[name]:.0e}" if name in row else "–" for name in ("error", "picture"))
        said.append(
            f"| {row['set']} | {row['threads']} | {row['size']} | {row['mask']} | {row['length']:,} | {row['attention']:.3g} "
            f"| **{row['compiled']:.2f}** | {' | '.join(ratios)} | {' | '.join(known)} |"
        )
    return said


def lines(rows: list[dict], query: list[dict], rival: list[dict]) -> list[str]:
    from capture import machine

    about = (
        f"`python benchmarks/head_statistics.py` prints these figures: statistics, 48 × 48 pictures and strongest links of "
        f"{HEADS} heads, exact, in one pass over q and k, beside one fp32 `scaled_dot_product_attention` of the same tensors "
        "and mask. *Compiled*: with numba (`attnscope[fast]`), once it is compiled or loaded; *plain torch*: without. Medians of processor time. "
        f"{machine(max(row['threads'] for row in rows))}"
    )
    said = [
        "## Statistics of every head",
        "",
        about,
        "",
        *table(rows),
        "",
    ]
    long = [row for row in rows if row["length"] >= 512]
    goals = [("compiled: largest ratio from 512 tokens on", max(row["compiled"] for row in long), 1.0, "")]
    plain = max(row["plain"] for row in long if "plain" in row)
    goals.append(("plain torch: largest ratio from 512 tokens on", plain, 3.0, ""))
    goals.append(("largest error", max(row["error"] for row in rows if "error" in row), 1e-5, ""))
    if query:
        goals.append(
            (f"weights of one query in all heads at {ROW:,} tokens, one thread", query[0]["weights"], 5, " ms")
        )
        goals.append((f"its share at {ROW:,} tokens, one thread", query[0]["share"], 15, " ms"))
    said += [
        f"- {'✓' if value <= most else '✕'} {name}: {value:.2g}{unit} (goal: ≤ {most:g}{unit})"
        for name, value, most, unit in goals
    ]
    for threads, of in enumerate(query, 1):
        said.append(
            f"- One query at {ROW:,} tokens with {threads} thread(s), ms of processor (by the clock): "
            + ", ".join(
                f"{name} {of[key]:.1f} ({of[f'{key} wall']:.1f})"
                for name, key in (
                    ("weights", "weights"),
                    ("share", "share"),
                    ("the first share of a site, which measures ‖v · W_O‖ of every key", "share, the first time"),
                    ("of which the one product of v with a 64 × 64 block per head alone", "product"),
                )
            )
            + "."
        )
    if rival and "ratio" in rival[0]:
        said.append(
            f"- torch.compile on the processor, for four of the numbers alone: {rival[0]['ratio']:.2f} × attention at 2,048 tokens, "
            f"one thread, after {rival[0]['first']:.0f} s of compiling that need a C++ compiler."
        )
    elif rival:
        said.append(f"- torch.compile could not be measured here: {rival[0]['error']}")
    return said


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--task", choices=["measure", "query", "torch_compile"])
    parser.add_argument("--threads", type=int)
    parser.add_argument("--lengths", type=json.loads, default=LENGTHS)
    given = parser.parse_args()
    if given.task:
        torch.set_num_threads(given.threads)
        print(json.dumps(list(answers(given.task, given.threads, given.lengths))))
        return
    if given.quick:
        print("\n".join(lines(child("measure", 1, {64: (128, 512)}), [], [])))
        return
    rows = [row for threads in (1, 2) for row in child("measure", threads, LENGTHS)]
    rows += [row | {"set": "AVX2"} for row in child("measure", 1, {64: (512, 2048)}, **AVX2)]
    said = lines(rows, one_query_by_threads(), child("torch_compile", 1, {}))
    print("\n".join(said))
    write_section("head statistics", said)


def one_query_by_threads() -> list[dict]:
    return [of for threads in (1, 2) for of in child("query", threads, {})]


def answers(task: str, threads: int, lengths: dict):
    if task == "query":
        yield one_query()
    elif task == "torch_compile":
        yield torch_compile(2048)
    else:
        for size, several in lengths.items():
            for length in several:
                for mask in MASKS:
                    rounds = max(3, min(25, 8_000_000 // length**2))
                    print(threads, size, length, mask, file=sys.stderr, flush=True)
                    row = {"set": "", "threads": threads, "mask": mask, "length": length, "size": int(size)}
                    yield row | measure(length, mask, int(size), rounds)


if __name__ == "__main__":
    main()
