"""What an edit costs, beside a plain forward pass, hooks written by hand, TransformerLens and nnsight.

    python benchmarks/edit.py            # everything (some minutes); writes its section of benchmarks/RESULTS.md
    python benchmarks/edit.py --quick    # short texts, few rounds; prints only

The model has Llama's shapes and random weights, and reads T random tokens under sdpa. The rivals take turns within a round, first each time
another; every ratio is taken within a round, and the median over rounds is what counts. TransformerLens and nnsight run where they are installed (`make bench`).
"""

import argparse
import contextlib
import copy
import importlib.metadata
import importlib.util
import statistics
from collections.abc import Callable
from typing import Any

import torch
from capture import LLAMA, Report, build_llama, goal, machine, race, ratios, spread, tokens

import attnscope
from attnscope.live_edits import LiveEdits

LAYER, HEAD, SIZE = 4, 3, 64
IDLE, EDITED = 1.02, 1.10  # goals, × forward
TEXT_LONG = 1024


def runs() -> dict[str, tuple[str, Callable[[torch.Tensor], Any], float | None]]:
    """By name: what it is, the run, and the goal of its ratio to a plain pass."""
    model = build_llama(*LLAMA)
    name = f"L{LAYER}H{HEAD}"

    def plain(ids: torch.Tensor) -> Any:
        return model(input_ids=ids)

    def idle(ids: torch.Tensor) -> Any:
        with attnscope.edit(model):
            return model(input_ids=ids)

    def edited(verb: Callable[[Any], Any]) -> Callable[[torch.Tensor], Any]:
        def run(ids: torch.Tensor) -> Any:
            with attnscope.edit(model) as edit:
                verb(edit)
                return model(input_ids=ids)

        return run

    def by_hand(ids: torch.Tensor) -> Any:
        def off(module: Any, args: Any) -> Any:
            z = args[0].clone()
            z[..., HEAD * SIZE : (HEAD + 1) * SIZE] = 0
            return (z,)

        handle = model.layers[LAYER].self_attn.o_proj.register_forward_pre_hook(off)
        try:
            return model(input_ids=ids)
        finally:
            handle.remove()

    found = {
        "plain": ("a plain pass", plain, None),
        "idle": ("an idle block", idle, IDLE),
        "off": ("`off`, one head", edited(lambda edit: edit.head(name).off()), EDITED),
        "hooks": ("the same by a hook", by_hand, None),
        "cut": (
            "`cut` of a key, one head",
            edited(lambda edit: edit.head(name).cut(query=slice(9, None), key=2)),
            EDITED,
        ),
        "uniform": ('`weights("uniform")`, one head', edited(lambda edit: edit.head(name).weights("uniform")), EDITED),
        "all": (
            "`off`, a head in each layer",
            edited(lambda edit: edit.heads(*(f"L{n}H3" for n in range(LLAMA[0]))).off()),
            None,
        ),
    }
    if importlib.util.find_spec("nnsight") is not None:
        found["nnsight"] = ("the same by nnsight", _nnsight(copy.deepcopy(model)), None)  # it changes what it wraps
    return {kind: (what, torch.no_grad()(run), limit) for kind, (what, run, limit) in found.items()}


def _nnsight(model: Any) -> Callable[[torch.Tensor], Any]:
    from nnsight import NNsight

    wrapped = NNsight(model)

    def run(ids: torch.Tensor) -> Any:
        with wrapped.trace(input_ids=ids):
            wrapped.layers[LAYER].self_attn.o_proj.input[..., HEAD * SIZE : (HEAD + 1) * SIZE] = 0
            made = wrapped.output.save()
        return made

    return run


def time_section(report: Report, lengths: list[int], rounds: int) -> None:
    """One table for each length."""
    for length in lengths:
        known = runs()
        spent = race({kind: run for kind, (_, run, _) in known.items()}, tokens(length), rounds)
        plain = statistics.median(one.wall for one in spent["plain"])
        report.table(
            f"**{length:,} tokens**, {plain:.2f} s a plain pass: median of {rounds} rounds (quartiles).",
            *["", "wall ÷ plain", "CPU ÷ plain", f"goal at {TEXT_LONG:,}"],
        )
        for kind, (what, _, limit) in known.items():
            if kind == "plain":
                continue
            wall, cpu = (ratios(spent[kind], spent["plain"], clock) for clock in ("wall", "cpu"))
            judged = f"≤ {limit} {goal(cpu[0] <= limit)}" if limit is not None and length == TEXT_LONG else ""
            report.row(what, spread(wall, 3), spread(cpu, 3), judged)


def lens_section(report: Report, length: int, rounds: int) -> None:
    """TransformerLens's own hook on z, beside attnscope on the model that it wraps."""
    from capture import _bridge, build

    model = copy.deepcopy(build("eager"))  # the bridge takes the other one apart
    bridge = _bridge()

    def off(z: torch.Tensor, hook: Any) -> torch.Tensor:
        z[:, :, HEAD] = 0
        return z

    def lens(ids: torch.Tensor) -> Any:
        return bridge.run_with_hooks(ids, fwd_hooks=[(f"blocks.{LAYER}.attn.hook_z", off)])

    def ours(ids: torch.Tensor) -> Any:
        with attnscope.edit(model) as edit:
            edit.head(f"L{LAYER}H{HEAD}").off()
            return model(input_ids=ids)

    kinds = {"plain": lambda ids: model(input_ids=ids), "edit": ours, "lens": lens}
    with torch.no_grad():
        made, own = lens(tokens(length)), ours(tokens(length)).logits
    apart = float((getattr(made, "logits", made) - own).abs().max() / own.abs().max())
    spent = race({kind: torch.no_grad()(run) for kind, run in kinds.items()}, tokens(length), rounds)
    shown = {kind: spread(ratios(spent[kind], spent["plain"], "cpu"), 3) for kind in ("edit", "lens")}
    report.say(
        "",
        f"TransformerLens {importlib.metadata.version('transformer-lens')}, BERT-base's shapes, eager, {length:,} tokens, one head off: {shown['lens']} × plain; "
        f"attnscope {shown['edit']} ×. Their logits differ by {apart:.1e} of the largest.",
    )


def live_section(report: Report, rounds: int) -> None:
    """What a live view waits for: predictions before and after, and a piece of the band, beside a plain pass of the same text."""
    report.table(
        f"**Live**, a question as `attnscope serve` and the widget ask it, after the first: median of {rounds} rounds (quartiles).",
        *["", "plain CPU s", "wall s", "CPU s", "CPU ÷ plain", "goal"],
    )
    words = "The cat did not sit on the mat because it was too small, and then "
    for name, count, limit in (("demo", 24, 0.3), ("smollm2", 64, 1.5)):
        model, tokenizer = attnscope.load(name)
        ids = tokenizer(words * 8, return_tensors="pt")["input_ids"][:, :count]
        trace = attnscope.trace(model, tokenizer, inputs={"input_ids": ids})
        live = LiveEdits(model, tokenizer, trace)
        last = trace.sites[-1].layer
        asked = {
            "off, first layer": lambda _, live=live: live.answer(["off_L0H1"]),
            "off, last layer": lambda _, live=live, last=last: live.answer([f"off_L{last}H1"]),
            "a weight, middle layer": lambda _, live=live, at=last // 2: live.answer([f"weights_L{at}H1_q9_k3_x0.5"]),
            "a piece of the band": lambda _, live=live: live.answer(["off_L0H1"], first=0),
        }
        plain = torch.no_grad()(lambda _, model=model, ids=ids: model(input_ids=ids))
        spent = race({"plain": plain, **asked}, ids, rounds)
        base = statistics.median(one.cpu for one in spent["plain"])
        for kind in asked:
            wall, cpu = (statistics.median(getattr(one, clock) for one in spent[kind]) for clock in ("wall", "cpu"))
            judged = "" if "band" in kind else f"≤ {limit} s {goal(wall <= limit)}"
            ratio = spread(ratios(spent[kind], spent["plain"], "cpu"), 2)
            report.row(f"{name}, {count} tokens: {kind}", f"{base:.3f}", f"{wall:.3f}", f"{cpu:.3f}", ratio, judged)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="short texts, few rounds; prints only")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=11)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    report = Report()
    layers, width = LLAMA
    report.say("## Edits", "", machine(given.threads))
    report.say(
        "", f"Llama's shapes: {layers} layers, {width} wide, {width // SIZE} heads, four to a key/value head; sdpa."
    )
    time_section(report, [64] if given.quick else [64, TEXT_LONG], 3 if given.quick else given.rounds)
    for package, name in (("nnsight", "nnsight"), ("transformer_lens", "TransformerLens")):
        if importlib.util.find_spec(package) is None:
            report.say("", f"{name} is not installed here: `make bench` installs what it compares with.")
    live_section(report, 3 if given.quick else given.rounds)
    with contextlib.suppress(ModuleNotFoundError):
        lens_section(report, 64 if given.quick else TEXT_LONG, 3 if given.quick else given.rounds)
    if not given.quick:
        report.write("edit")


if __name__ == "__main__":
    main()
