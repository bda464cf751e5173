"""What a long text costs: the trace beside the plain pass, and the picture of one head beside one attention of that head.

    python benchmarks/long.py                     # 2k and 8k tokens, some minutes; writes its section of RESULTS.md
    python benchmarks/long.py --lengths 32768     # an hour on one core
    python benchmarks/long.py --models smollm2:2048,head:32768
    python benchmarks/long.py --quick             # 1,024 tokens of the random model; prints only

Models: SmolLM2-135M up to its 8k, and random weights in the shape of a Llama: 16 layers, 16 heads, 4 key/value heads, head
size 64; and one causal head of random q, k, v alone. Each pass runs in a process of its own, with one thread; times are of the processor, memory is the largest that the
process had beyond the loaded model, with MALLOC_MMAP_THRESHOLD_ at 1 MB: without it glibc's heap keeps holes between tensors below 32 MB, which no
tensor of 32,768 tokens is, and what is measured is malloc. `output_attentions=True` runs where its weights fit into memory; elsewhere what it needs
is computed: layers × heads × T² numbers.
"""

import argparse
import gc
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from results import write_section

LENGTHS = {"smollm2": (2048, 8192), "random": (2048, 8192), "head": (8192, 32_768)}
MODES = ("plain", "trace", "output_attentions")
ROOM = 0.5  # of the free memory that output_attentions may take


def loaded(name: str) -> Any:
    import torch
    import transformers

    import attnscope

    if name == "smollm2":
        return attnscope.load("smollm2")[0]
    torch.manual_seed(1)
    config = transformers.LlamaConfig(
        vocab_size=4096,
        hidden_size=1024,
        intermediate_size=2816,
        num_hidden_layers=16,
        num_attention_heads=16,
        num_key_value_heads=4,
        head_dim=64,
        max_position_embeddings=32_768,
    )
    return transformers.LlamaForCausalLM(config).eval()


def memory(field: str) -> int:
    """Bytes of this process: "VmRSS" now, "VmHWM" at most."""
    line = next(one for one in Path("/proc/self/status").read_text().splitlines() if one.startswith(field))
    return 1024 * int(line.split()[1])


def cost(run: Callable[[], Any]) -> tuple[float, Any]:
    begin = time.process_time()
    result = run()
    return time.process_time() - begin, result


def one_pass(name: str, mode: str, length: int) -> dict[str, Any]:
    """In a process of its own."""
    import torch

    import attnscope

    if name == "head":
        torch.manual_seed(length)
        q, k, v = (torch.randn(1, length, 64) for _ in range(3))
        return picture(attnscope.Trace.from_qkv(q, k, v, is_causal=True))
    model = loaded(name)
    config = model.config
    ids = torch.randint(3, config.vocab_size, (1, length), generator=torch.Generator().manual_seed(length))
    inputs = {"input_ids": ids, "use_cache": False, "logits_to_keep": 1}
    if mode == "output_attentions":
        model.set_attn_implementation("eager")
        inputs["output_attentions"] = True
    with torch.no_grad():
        model(**inputs | {"input_ids": ids[:, :16]})  # what a first call does once
        attnscope.trace(model, inputs={"input_ids": ids[:, :16]})
        gc.collect()
        Path("/proc/self/clear_refs").write_text("5")
        before = memory("VmRSS")
        if mode == "trace":
            seconds, trace = cost(lambda: attnscope.trace(model, inputs=inputs))
            found = {"qkv": sum(x.nbytes for site in trace.sites for x in site.kept.values())}
        else:
            seconds, _ = cost(lambda: model(**inputs))
            trace, found = None, {}
    found |= {"seconds": seconds, "bytes": memory("VmHWM") - before}
    return found | (picture(trace) if trace is not None else {})


def picture(trace: Any) -> dict[str, Any]:
    """One head of the middle layer: ratios to one attention of it, and seconds."""
    import torch

    from attnscope.statistics.kernel import use
    from attnscope.tiles import shelf
    from attnscope.tiles.answer import answer
    from attnscope.tiles.pyramid import finest_side
    from attnscope.tiles.request import SIDE, TileRequest, coarsest

    index = len(trace.sites) // 2
    site = trace.sites[index]
    last = coarsest(site).bit_length() - 1
    q, k, v = site.q[:1].float(), site.k[:1].float(), site.v[:1].float()
    finest = last - finest_side(site).bit_length() + 1
    middle, end = site.keys // SIDE // 2, site.queries // SIDE - 1

    def tile(zoom: int = 0, row: int = 0, col: int = 0, coarse: bool = False) -> float:
        return cost(lambda: answer(trace, TileRequest(index, 0, zoom, row, col, coarse=coarse)))[0]

    def attention() -> float:
        return cost(
            lambda: torch.nn.functional.scaled_dot_product_attention(q[None], k[None], v[None], is_causal=True)
        )[0]

    found: dict[str, list[float]] = {}
    for switch in ("0", "1"):
        os.environ[use.SWITCH] = switch
        use.may_run(site, site.queries, heads=1)  # compiles, once
        for _ in range(3):
            shelf.forget()
            times = {"coarse": tile(coarse=True), "single": tile(last, end, middle)}
            times["row"] = cost(lambda: site.weights(0, site.queries - 1))[0]
            times["compiled" if switch == "1" else "plain"] = tile() / attention()
            # after the pass: a tile from the pyramid, the dearest zoom that it has not, and single weights
            times["tile"] = max(tile(finest, end >> (last - finest)), tile(last, end, middle))
            if finest < last:
                times["finer"] = tile(finest + 1, end >> (last - finest - 1), middle >> (last - finest - 1))
            for name, value in times.items():
                found.setdefault(name, []).append(value)
    kept = sum(one.nbytes for one in shelf._kept.values())
    return {name: statistics.median(values) for name, values in found.items()} | {"pyramid": kept}


def run(name: str, mode: str, length: int) -> dict[str, Any]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    if name != "head":  # of which no memory is measured, so that malloc may be as people have it: fresh pages take time
        environment |= {"MALLOC_MMAP_THRESHOLD_": str(1 << 20)}
    asked = [sys.executable, __file__, "--child", name, mode, str(length)]
    return json.loads(
        subprocess.run(asked, env=environment, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
    )


def fits(name: str, length: int) -> tuple[bool, int]:
    """Whether the weights of `output_attentions` fit, and their bytes."""
    layers, heads = (30, 9) if name == "smollm2" else (16, 16)
    size = layers * heads * length**2 * 4
    free = next(x for x in Path("/proc/meminfo").read_text().splitlines() if x.startswith("MemAvailable"))
    return size < ROOM * 1024 * int(free.split()[1]), size


def row_of(name: str, length: int) -> str:
    if name == "head":
        return "| " + " | ".join(["one head", f"{length:,}", *"–––––", *of_picture(run(name, "trace", length))]) + " |"
    plain, traced = run(name, "plain", length), run(name, "trace", length)
    there, size = fits(name, length)
    eager = run(name, "output_attentions", length) if there else None
    times = f"{eager['seconds'] / plain['seconds']:.2f}" if eager else "–"
    needs = f"{eager['bytes'] / 1e9:.2f}" if eager else f"{size / 1e9:.1f} (computed)"
    more = (traced["bytes"] - plain["bytes"]) / traced["qkv"]
    cells = [
        f"{traced['seconds'] / plain['seconds']:.2f}",
        f"{more:.2f}",
        f"{traced['qkv'] / 1e9:.2f}",
        times,
        needs,
        *of_picture(traced),
    ]
    return f"| {name} | {length:,} | {' | '.join(cells)} |"


def of_picture(traced: dict[str, Any]) -> list[str]:
    return [
        f"{1e3 * traced['coarse']:.0f}",
        f"{traced['compiled']:.2f}",
        f"{traced['plain']:.2f}",
        f"{1e3 * traced['tile']:.1f}",
        f"{1e3 * traced.get('finer', 0):.1f}",
        f"{1e3 * traced['single']:.0f}",
        f"{1e3 * traced['row']:.1f}",
        f"{traced['pyramid'] / 1e6:.1f}",
    ]


HEAD = (
    "| model | T | trace ÷ plain, time | trace − plain, memory ÷ q, k, v | q, k, v GB | output_attentions ÷ plain, time | its GB "
    "| coarse ms | exact ÷ SDPA, compiled | exact ÷ SDPA, plain torch | tile ms | finer tile ms | single weights before ms | row ms | "
    "pyramid MB |"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--lengths", type=lambda text: [int(one) for one in text.split(",")])
    parser.add_argument("--models", type=lambda text: text.split(","), default=["head", "smollm2", "random"])
    parser.add_argument("--child", nargs=3)
    given = parser.parse_args()
    if given.child:
        name, mode, length = given.child
        print(json.dumps(one_pass(name, mode, int(length))))
        return
    load = os.getloadavg()[0]
    named = [one.partition(":") for one in given.models]
    pairs = [(n, int(t)) for n, _, one in named for t in ([one] if one else given.lengths or LENGTHS[n])]
    pairs = [("random", 1024)] if given.quick else pairs
    lines = [HEAD, "|-|-|" + "-|" * 13]
    print("\n".join(lines), flush=True)
    for name, length in pairs:
        lines.append(row_of(name, length))
        print(lines[-1], flush=True)
    if not given.quick:
        asked = " ".join(["python benchmarks/long.py", *sys.argv[1:]])
        words = (
            f"## Long texts\n\n`{asked}` prints these figures: processor time, one thread, every pass in a process of its "
            f"own, with MALLOC_MMAP_THRESHOLD_ at 1 MB where memory is measured. Load {load:.1f} at the start, {os.cpu_count()} cores. The picture is of one head of the middle layer; medians of 3 (of 6 where both ways give one)."
        )
        write_section("long", [*words.splitlines(), "", *lines])


if __name__ == "__main__":
    main()
