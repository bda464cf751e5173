"""Write what a version of attnscope saves, as examples that every later version must open: `python tools/saved_examples.py`.

It writes a folder for the payload's format version, tests/payload/saved/v1, and never changes one that is there: a new
format gets a folder beside it, `--name` gives one more to the same format, `--only` puts some traces alone into that.
tests/payload/test_saved.py opens all of them.
The models are tiny, with random weights; the folder takes less than 300 kB.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))

import torch

import attnscope
from attnscope.payload.codec import encode
from attnscope.payload.header import VERSION
from attnscope.payload.held import Held
from attnscope.tracing.trace import Trace
from attnscope.views.state import CHOICES, State

ROOT = Path(__file__).parents[1]
SAVED = ROOT / "tests" / "payload" / "saved"
STEPS = {"x", "pre_rotary", "projections"}


def traces() -> Iterator[tuple[str, Trace, bool]]:
    """Name, trace, and whether W_O is written too: between them all that a file can hold."""
    import made_traces  # pyright: ignore[reportMissingImports]
    import tiny_models as tiny  # pyright: ignore[reportMissingImports]
    import tiny_tokenizers  # pyright: ignore[reportMissingImports]

    def of(name: str, dtype: torch.dtype = torch.float32, length: int = 5, **options: Any) -> Trace:
        inputs = {key: x.to(dtype) if x.is_floating_point() else x for key, x in tiny.inputs(name, length).items()}
        return attnscope.trace(tiny.model(name, dtype=dtype), None, inputs=inputs, **options)

    pair = attnscope.trace(tiny.model("bert"), tiny.tokenizer(), "the cat", text_pair="a dog sat")
    yield "self", pair, False
    yield "cross", of("t5"), True
    yield "grouped-heads-steps", of("qwen3", torch.bfloat16, keep=STEPS, layers=1, length=4), True
    yield "half", of("gpt2", torch.float16), False
    yield "image", of("vit", layers=0), False
    yield "sinks", of("gpt_oss"), False
    yield "softcap-window", of("gemma2"), False
    yield (
        "everything-at-once",
        made_traces.with_everything().replace_sites(made_traces.with_everything().sites[:1]),
        False,
    )
    model, batch = tiny.model("mistral", "sdpa"), tiny.padded_batch("left", 7, 4)
    with torch.no_grad(), attnscope.capture(model) as recorder:
        model(**batch)
    yield "padded", recorder.trace(index=1), False
    tokenizer = tiny_tokenizers.begins(tiny_tokenizers.CHATML, ("<|im_start|>", "<|im_end|>"))
    chat = [{"role": "user", "content": "the cat sat"}]
    yield "chat", attnscope.trace(tiny.model("llama"), tokenizer, messages=chat, generate=3), False
    generator = torch.Generator().manual_seed(0)
    cells = torch.rand(3, 4, 4, generator=generator)
    yield "weights", Trace.from_attentions(torch.softmax(cells, -1), ["a", "##b", "[SEP]", "é"]), False
    q, k, v = (torch.randn(3, n, 5, generator=generator) for n in (4, 6, 6))
    mask = torch.where(torch.rand(3, 4, 6, generator=generator) < 0.7, 0.0, -torch.inf)
    yield "mask-of-bits", Trace.from_qkv(q, k, v, mask=mask), False
    yield "picture", made_traces.pictured(2, 3), False
    yield "sound", made_traces.sounding(4, 3), False
    yield "film", made_traces.filmed(2), False
    yield "writes", of("bert", layers=0, length=4), True


def addresses() -> list[dict[str, Any]]:
    """Addresses of pages, and the state that each one is: every level, every choice, every field."""
    states = [State(level) for level in CHOICES["level"]]
    states += [State(**{name: choice}) for name, choices in CHOICES.items() for choice in choices]
    place = {"stack": "cross", "layer": 3, "head": 2, "query": 7}
    states += [State(level, **place, key=4) for level in CHOICES["level"]]
    look = {"heads": (3, 5), "queries": (1, 2), "threshold": 0.05, "log": True, "words": True, "sort": "entropy"}
    states += [State("matrix", **place, **look, dim=6, average="heads", quantity="scores", special="hide")]
    states += [State(stack="vision_model"), State(sort="pair_write"), State(stack="Turm ä&b")]
    found = [{"address": f"page.html#{state.fragment}", "state": asdict(state)} for state in dict.fromkeys(states)]
    hand = [("#level=lines", State()), ("#level=grid&layer=1", State("matrix", layer=1)), ("#head=3", State(head=3))]
    return found + [{"address": address, "state": asdict(state)} for address, state in hand]


def widgets(some: dict[str, Trace]) -> Iterator[tuple[str, dict[str, Any]]]:
    """What a notebook saves of a widget of one trace, and of a comparison. Its code is as large as the rest of the folder
    together, and left out: the code that reads it is that of a later version."""
    from ipywidgets import Widget

    compared = attnscope.compare(some["self"], some["other"])
    views = {
        "widget": some["self"].show("matrix", layer=1, head=2, query=3, key=1),
        "widget-of-a-comparison": compared.show("head"),
    }
    for name, view in views.items():
        saved = Widget.get_manager_state(widgets=[view.widget])
        for model in saved["state"].values():
            if "_esm" in model["state"]:
                model["state"]["_esm"] = "export default {}"
        yield name, saved


def expected(trace: Trace) -> dict[str, Any]:
    """What a later version must find in it."""
    return {
        "tokens": list(trace.tokens.shown),
        "grids": [[grid.rows, grid.columns, list(grid.tokens), len(grid.png)] for grid in trace.tokens.grids],
        "sites": [
            {
                "stack": site.stack,
                "layer": site.layer,
                "status": receipt.status,
                "weights": [round(weight, 5) for weight in site.weights(site.heads - 1, site.queries - 1)[0].tolist()],
            }
            for site, receipt in zip(trace.sites, trace.verify().sites, strict=True)
        ],
    }


def main() -> int:
    options = argparse.ArgumentParser(description="Write the examples of this version.")
    options.add_argument("--name", default=f"v{VERSION}", help=f"of the folder (default: v{VERSION})")
    options.add_argument("--only", nargs="+", metavar="TRACE", help="these traces, and nothing else")
    chosen = options.parse_args()
    folder = SAVED / chosen.name
    if folder.exists():
        print(f"{folder} is there: what a version wrote is not written again. Give another --name.", file=sys.stderr)
        return 1
    folder.mkdir(parents=True)
    torch.set_num_threads(1)
    known, some = {}, {}
    for name, trace, projections in traces():
        if chosen.only and name not in chosen.only:
            continue
        trace.save(folder / f"{name}.safetensors", projections=projections)
        known[name], some[name] = expected(trace), trace
    if not chosen.only:
        _write_more(folder, some)
    _write(folder / "expected.json", known)
    size = sum(path.stat().st_size for path in folder.iterdir())
    print(f"{folder.relative_to(ROOT)}: {len(list(folder.iterdir()))} files, {size / 1000:.0f} kB")
    return 0


def _write_more(folder: Path, some: dict[str, Trace]) -> None:
    """What a page and a notebook keep, and addresses."""
    part = encode(some["self"], {1: Held(dtype=torch.float16)}, thumbs=True, query=3)  # as a page embeds it
    (folder / "block-of-a-page.bin").write_bytes(part)
    moved = [replace(site, q=site.q * 1.5) for site in some["self"].sites]
    some["other"] = some["self"].replace_sites(moved)
    for name, saved in widgets(some):
        _write(folder / f"{name}.json", saved)
    _write(folder / "addresses.json", addresses())


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=None, separators=(",", ":")) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
