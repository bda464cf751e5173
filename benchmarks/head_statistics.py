"""What the statistics, pictures and strongest links of every head cost, beside one fp32 attention of the same tensors.

    python benchmarks/head_statistics.py            # all lengths, 1 and 2 threads; writes its section of benchmarks/RESULTS.md
    python benchmarks/head_statistics.py --quick    # up to 1,024 tokens, one thread; prints only

The rival is torch's F.scaled_dot_product_attention (q, k, v of 12 heads of size 64, as BERT-base and GPT-2 have them)
with the same mask. Both take turns; a ratio is taken within a round, of processor time, and the median over rounds
counts. The text's tokens are drawn by Zipf's law, so that as many come again as in a real one. Errors are against all
weights at once, in fp64, up to 1,024 tokens: of a statistic as a part of its largest value over the heads, of a picture
in weight.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import torch
from results import write_section

HEADS, SIZE, VOCABULARY = 12, 64, 30_000
LENGTHS = (128, 256, 512, 1024, 2048, 4096)
MASKS = ("none", "causal", "window of 256")
DENSE = 1024  # tokens up to which all weights are held at once


def measure(length: int, mask: str, rounds: int) -> dict[str, float]:
    """Ratios, milliseconds and errors of one length and mask, with the threads that torch has."""
    from attnscope.statistics.compute import sums_of
    from attnscope.statistics.pairs import Pairs
    from attnscope.tracing.masks import NO_MASK, causal_rule
    from attnscope.tracing.site import Site

    torch.manual_seed(length)
    q, k, v = (torch.randn(HEADS, length, SIZE) * 1.5 for _ in range(3))
    rule = {"none": NO_MASK, "causal": causal_rule(length, length)}.get(mask, causal_rule(length, length, window=256))
    site = Site(q, k, v, SIZE**-0.5, mask=rule)
    pairs = Pairs(site, *[text(length)] * 2)
    allowed = rule.allowed(torch.arange(length), length) if mask.startswith("window") and length > 256 else None

    def attention() -> None:
        torch.nn.functional.scaled_dot_product_attention(
            q[None], k[None], v[None], attn_mask=allowed, is_causal=allowed is None and mask != "none"
        )

    def ours() -> None:
        sums_of(site, pairs, 48)

    times = [(cost(attention), cost(ours)) for _ in range(rounds + 1)][1:]
    found = {
        "attention": 1e3 * statistics.median(a[0] for a, _ in times),
        "ours": 1e3 * statistics.median(b[0] for _, b in times),
        "ratio": statistics.median(b[0] / a[0] for a, b in times),
        "wall": statistics.median(b[1] / a[1] for a, b in times),
    }
    return found | (errors(site, pairs) if length <= DENSE else {})


def cost(run: Callable[[], None]) -> tuple[float, float]:
    """Seconds of processor, and by the clock."""
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


def child(threads: int, lengths: tuple[int, ...]) -> list[dict]:
    """The same in a fresh process with so many threads."""
    asked = [sys.executable, __file__, "--child", str(threads), "--lengths", *map(str, lengths)]
    done = subprocess.run(
        asked, env={**os.environ, "OMP_NUM_THREADS": str(threads)}, stdout=subprocess.PIPE, check=True
    )
    return json.loads(done.stdout)


def lines(rows: list[dict]) -> list[str]:
    from capture import machine

    about = (
        f"`python benchmarks/head_statistics.py` prints these figures: statistics, 48 × 48 pictures and strongest links of "
        f"{HEADS} heads of size {SIZE}, exact, in one pass over q and k (plain torch), beside one fp32 "
        "`scaled_dot_product_attention` of the same tensors and mask. Medians of processor time. "
        f"{machine(max(row['threads'] for row in rows))}"
    )
    said = [
        "## Statistics of every head",
        "",
        about,
        "",
        "| threads | mask | T | attention ms | statistics ms | ratio | by the clock | error | of a picture |",
        "|-|-|-|-|-|-|-|-|-|",
    ]
    for row in rows:
        error, picture = (f"{row[name]:.0e}" if name in row else "–" for name in ("error", "picture"))
        said.append(
            f"| {row['threads']} | {row['mask']} | {row['length']:,} | {row['attention']:.3g} | {row['ours']:.3g} | "
            f"{row['ratio']:.2f} | {row['wall']:.2f} | {error} | {picture} |"
        )
    goal = max(row["ratio"] for row in rows if row["length"] >= 512)
    return [*said, "", f"- {'✓' if goal <= 3 else '✕'} largest ratio from 512 tokens on: {goal:.2f} (goal: ≤ 3)"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--child", type=int)
    parser.add_argument("--lengths", type=int, nargs="*", default=LENGTHS)
    given = parser.parse_args()
    if given.child:
        torch.set_num_threads(given.child)
        found = []
        for length in given.lengths:
            for mask in MASKS:
                rounds = max(3, min(40, 4_000_000 // length**2))
                found.append({"threads": given.child, "mask": mask, "length": length, **measure(length, mask, rounds)})
        print(json.dumps(found))
        return
    lengths = tuple(length for length in given.lengths if not given.quick or length <= 1024)
    rows = [row for threads in ((1,) if given.quick else (1, 2)) for row in child(threads, lengths)]
    said = lines(rows)
    print("\n".join(said))
    if not given.quick:
        write_section("head statistics", said)


if __name__ == "__main__":
    main()
