"""What `attnscope.effects` costs a head, beside one forward pass of the same text.

    python benchmarks/effects.py            # some minutes; writes its section of benchmarks/RESULTS.md
    python benchmarks/effects.py --quick    # one short text; prints only

SmolLM2 (30 layers × 9 heads) under sdpa. The whole call is timed: the clean pass, the trial, the receipts. Where T is small a pass of one row leaves the processor idle, so
batches of heads cost less than their number of rows; at 64 tokens and more the ratio is that of the arithmetic.
"""

import argparse
import statistics
import time

import torch
from capture import Report, goal, machine

import attnscope
from attnscope.editing.measure import run

MOST = 0.6  # goal, × heads × one forward pass
HEADS = 270


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short text; prints only")
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    model, _ = attnscope.load("smollm2")
    report = Report()
    report.say("## Effects of every head", "", machine(given.threads))
    report.table(
        f"SmolLM2, {HEADS} heads: CPU time of `effects`, ÷ {HEADS} × a forward pass.",
        *["tokens", "a forward pass", "how", "the whole call", "÷ heads × forward", f"goal ≤ {MOST}"],
    )
    for length in [14] if given.quick else [14, 64]:
        ids = torch.randint(100, 40_000, (1, length), generator=torch.Generator().manual_seed(0))
        passes = []
        for _ in range(6):
            begun = time.process_time()
            run(model, {"input_ids": ids, "use_cache": False})
            passes.append(time.process_time() - begun)
        forward = statistics.median(passes[1:])
        for how in ("off",) if given.quick else ("off", "mean"):
            begun = time.process_time()
            attnscope.effects(model, None, {"input_ids": ids}, 11, 7, how=how, quiet=True)
            spent = time.process_time() - begun
            ratio = spent / HEADS / forward
            report.row(
                str(length),
                f"{forward:.3f} s",
                f'`how="{how}"`',
                f"{spent:.1f} s",
                f"**{ratio:.3f}**",
                goal(ratio <= MOST),
            )
    if not given.quick:
        report.write("effects")


if __name__ == "__main__":
    main()
