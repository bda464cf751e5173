"""How many bits does a number of a page need, so that no digit that the page shows is another one?

    python benchmarks/precision.py          # under a minute; writes its section of benchmarks/RESULTS.md
    python benchmarks/precision.py --print  # prints only

q, k and v of a real model (all-MiniLM-L6-v2, the demo) at some 500 tokens are rounded to fp16, and to whole multiples of a
step, finer or coarser, one step for each head's q, k and v. Of each the bytes are packed as well as zlib can, dimension by
dimension, byte by byte; and the chain is computed from the rounded numbers and written as the page writes it.
"""

import sys
import zlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from results import write_section
from torch import Tensor

import attnscope
from attnscope.text.format import number, percent, percent_in_words
from attnscope.tracing.site import Site

TEXT = (
    "A lighthouse keeper wrote to her sister every week. She told her of ships that passed, of birds that struck the glass, "
    "and of the storms which came up from the south without a warning. Nobody answered for eleven years. "
)
BASE_NUMBERS = 12 * 3 * 512 * 768  # q, k and v of BERT-base at 512 tokens
OTHER_MB = 1.6  # of that page, packed: norms, samples of z, thumbnails, steps of one head
BASE64 = 4 / 3
QUERIES = 24  # of each head, spread over the text


class Row(NamedTuple):
    """Bits a number, packed; parts of the written numbers that are others; the largest change of a weight."""

    bits: float
    table: float
    sentence: float
    scores: float
    worst: float


def rounded(x: Tensor, digits: int | None) -> tuple[Tensor, "np.ndarray"]:
    """`x`, [H, T, D], in fp16 (None) or as multiples of σ / 2^digits, and the whole numbers that stand for it."""
    if digits is None:
        return x.half().float(), x.half().numpy().view(np.uint16)
    step = x.std(dim=(1, 2), keepdim=True) / 2**digits
    whole = (x / step).round()
    number = whole.int().numpy()
    unsigned = (number << 1) ^ (number >> 31)  # 0, −1, 1, −2 … as 0, 1, 2, 3 …: no byte is lost to the sign
    return whole * step, unsigned.astype(np.uint8 if unsigned.max() < 256 else np.uint16)


def packed(whole: "np.ndarray") -> int:
    """Bytes, dimension by dimension and byte by byte."""
    ordered = np.ascontiguousarray(whole.swapaxes(1, 2))
    planes = ordered.reshape(-1).view(np.uint8).reshape(-1, ordered.itemsize).T
    packer = zlib.compressobj(9, strategy=zlib.Z_HUFFMAN_ONLY)
    plain = np.ascontiguousarray(planes).tobytes()
    return min(len(packer.compress(plain) + packer.flush()), len(zlib.compress(plain, 9)))


def changed(first: Tensor, second: Tensor, write: Callable[[float], str]) -> float:
    pairs = [(write(a), write(b)) for a, b in zip(first.tolist(), second.tolist(), strict=True)]
    return sum(a != b for a, b in pairs) / len(pairs)


def measure(sites: list[Site], digits: int | None) -> Row:
    size = numbers = 0
    weights, scores, strongest = ([], []), ([], []), ([], [])
    worst = 0.0
    for site in sites:
        kept = {name: rounded(x, digits) for name, x in site.kept.items()}
        size += sum(packed(whole) for _, whole in kept.values())
        numbers += sum(x.numel() for x in site.kept.values())
        other = Site(*(kept[name][0] for name in "qkv"), site.scaling, mask=site.mask)
        rows = torch.linspace(0, site.queries - 1, QUERIES).long()
        for place, one in enumerate((site, other)):
            w = one.weights(queries=rows)
            weights[place].append(w.flatten())
            scores[place].append(one.scores(queries=rows).flatten())
            top = site.weights(queries=rows).argmax(-1, keepdim=True)
            strongest[place].append(w.gather(-1, top).flatten())
        worst = max(worst, float((weights[0][-1] - weights[1][-1]).abs().max()))
    shown = torch.cat(weights[0]) >= 0.0005  # the others are "<0.1 %"
    table = changed(torch.cat(weights[0])[shown], torch.cat(weights[1])[shown], percent)
    sentence = changed(torch.cat(strongest[0]), torch.cat(strongest[1]), percent_in_words)
    some = slice(None, None, 37)
    written = changed(torch.cat(scores[0])[some], torch.cat(scores[1])[some], number)
    return Row(8 * size / numbers, table, sentence, written, worst)


def main() -> None:
    torch.set_num_threads(1)
    model, tokenizer = attnscope.load("demo")
    trace = attnscope.trace(model, tokenizer, TEXT * 12, truncate=True)
    sites = list(trace.sites[1::2])
    about = (
        f"`python benchmarks/precision.py` prints these figures: q, k and v of all-MiniLM-L6-v2 at {len(trace.tokens)} tokens, rounded to "
        "multiples of σ / 2ⁿ per head, packed by zlib (dimension by dimension, byte by byte), and what a page would write from them. "
        "Changed: the part of the weights of a table (one decimal), of the strongest weight of a query in its sentence (whole "
        "percent) and of the scores (two decimals) that are written with other digits."
    )
    lines = [
        "## Precision of a page",
        "",
        about,
        "",
        "| rounding | bits a number | all of BERT-base at 512 tokens, MB | weights changed | in a sentence | scores changed | largest change of a weight |",
        "|-|-|-|-|-|-|-|",
    ]
    for digits in (None, 10, 8, 6, 4, 3, 2):
        row = measure(sites, digits)
        name = "fp16" if digits is None else f"σ / {2**digits}"
        whole = (row.bits / 8 * BASE_NUMBERS / 1e6 + OTHER_MB) * BASE64
        lines.append(
            f"| {name} | {row.bits:.1f} | {whole:.1f} | {percent(row.table)} | {percent(row.sentence)} | {percent(row.scores)} | "
            f"{100 * row.worst:.2g} points |"
        )
        print(lines[-1], flush=True)
    if "--print" not in sys.argv:
        write_section("precision", lines)


if __name__ == "__main__":
    main()
