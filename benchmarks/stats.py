"""What each statistic costs, beside one fp32 attention of the same tensors and beside the pass of the model level.

    python benchmarks/stats.py            # a few minutes; writes its section of benchmarks/RESULTS.md
    python benchmarks/stats.py --quick    # 256 tokens; prints only

All take turns in one process, and a ratio is taken within a round, of processor time; the median over rounds counts. The
rival is torch's F.scaled_dot_product_attention of q, k, v of 12 causal heads. The weights of a block are computed for each
statistic anew when it is alone, and once for all of them together.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable

import torch
from results import write_section

HEADS, SIZE, WIDTH = 12, 64, 768
LENGTHS = (512, 2048)
SWITCH = "ATTNSCOPE_COMPILED"
Way = Callable[[], object]


def made(length: int):
    """A trace of one layer with W_O and W_Q, W_K, W_V."""
    from head_statistics import text

    from attnscope.tracing.head_projection import HeadProjection
    from attnscope.tracing.masks import causal_rule
    from attnscope.tracing.output_projection import Projection
    from attnscope.tracing.site import Site
    from attnscope.tracing.trace import Trace

    torch.manual_seed(length)
    q, k, v = (torch.randn(HEADS, length, SIZE) * 1.5 for _ in range(3))
    parts = [HeadProjection(torch.randn(HEADS * SIZE, WIDTH), None, HEADS, SIZE, head_step=SIZE) for _ in range(3)]
    projection = Projection(torch.randn(WIDTH, HEADS * SIZE))
    mask = causal_rule(length, length)
    site = Site(q, k, v, SIZE**-0.5, mask=mask, projection=projection, w_q=parts[0], w_k=parts[1], w_v=parts[2])
    return Trace((site,), text(length))


def ways(length: int) -> dict[str, Way]:
    """What is measured, by name; the rival first."""
    from attnscope.statistics import head_distances, rollout
    from attnscope.statistics.compute import sums_of
    from attnscope.statistics.from_weights.scores import scores_of
    from attnscope.statistics.further.block import Setting
    from attnscope.statistics.further.compute import further_sums
    from attnscope.statistics.further.entries import FURTHER
    from attnscope.statistics.kinds.top_pairs import TopPairs, pairs_of_site
    from attnscope.statistics.pairs import Pairs
    from attnscope.statistics.rows import Rows

    trace = made(length)
    site = trace.sites[0]
    pairs = Pairs(site, trace.tokens, trace.tokens)

    def attention() -> None:
        torch.nn.functional.scaled_dot_product_attention(site.q[None], site.k[None], site.v[None], is_causal=True)

    def present(switch: str) -> Way:
        def run() -> None:
            os.environ[SWITCH] = switch
            sums_of(site, pairs, 48)

        return run

    def weights() -> None:
        reader = Rows(site)
        for run, sight in reader.runs(slice(0, length)):
            for _ in reader.blocks(run, sight):
                pass

    def further(*names: str) -> Way:
        return lambda: further_sums(Setting(site, pairs, trace.tokens), names).finish()

    def strongest() -> None:
        setting = Setting(site, pairs, trace.tokens)
        pairs_of_site(setting, TopPairs.start(HEADS, 10, setting.special))

    return {
        "attention": attention,
        "model level, compiled": present("1"),
        "model level, plain torch": present("0"),
        "the weights of all blocks alone": weights,
        **{name: further(name) for name in FURTHER},
        "all on request together": further(*FURTHER),
        "rollout": lambda: rollout(trace, -1),
        "top_pairs, of every head": strongest,
        "head_distances, 64 queries": lambda: head_distances(trace),
        "copying and query_key": lambda: scores_of(site, None),
    }


def measure(length: int, rounds: int) -> dict[str, float]:
    """By name: how many attentions it costs; of "attention", milliseconds."""
    from attnscope.statistics.kernel import use

    found = ways(length)
    with torch.no_grad():
        times = [{name: cost(run) for name, run in found.items()} for _ in range(rounds + 1)][1:]
    if use._state.refused:
        sys.exit("the compiled pass could not be used, so its figures would be those of plain torch")
    ratios = {name: statistics.median(t[name] / t["attention"] for t in times) for name in found}
    return ratios | {"attention": 1e3 * statistics.median(t["attention"] for t in times)}


def cost(run: Way) -> float:
    """Seconds of processor."""
    before = time.process_time()
    run()
    return time.process_time() - before


def lines(rows: dict[int, dict[str, float]]) -> list[str]:
    from capture import machine

    lengths = list(rows)
    about = (
        f"`python benchmarks/stats.py` prints these figures: processor time of each statistic of {HEADS} causal heads of size {SIZE}, as "
        "a multiple of one fp32 `scaled_dot_product_attention` of the same tensors, all in turns in one run. A statistic on request computes the weights "
        "itself when it is alone; together they share them, and blocks of fp64 weights too. What the model level shows does not pay for them. "
        f"{machine(1)}"
    )
    first = rows[lengths[0]]
    said = [
        "## Each statistic",
        "",
        about,
        "",
        f"| | {' | '.join(f'{length:,} tokens' for length in lengths)} |",
        "|-|" + "-|" * len(lengths),
        f"| attention, ms | {' | '.join(format(rows[n]['attention'], '.3g') for n in lengths)} |",
    ]
    for name in list(first)[1:]:
        said.append(f"| {name} | {' | '.join(format(rows[n][name], '.2f') for n in lengths)} |")
    return said


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows = {}
    for length in (256,) if given.quick else LENGTHS:
        print(length, "tokens", file=sys.stderr, flush=True)
        rows[length] = measure(length, 3 if given.quick else max(3, min(11, 4_000_000 // length**2)))
    said = lines(rows)
    print("\n".join(said))
    if not given.quick:
        write_section("each statistic", said)


if __name__ == "__main__":
    main()
