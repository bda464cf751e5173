"""Attention on a GPU: is everything bit for bit what it is without attnscope, and what does it cost?

    python benchmarks/gpu.py                        # on a machine with a GPU: at most 12 minutes
    python benchmarks/gpu.py --device cpu --quick   # the same parts, small, on a processor: does the script run?

Each part prints a line: what was compared, the figure, and "ok" or "WRONG". A part that this machine cannot run says why. Parts begin only
while there is time; the exit status is 1 if one is wrong. Weights are random, in the shape of a Llama; nothing is downloaded.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

import torch
import transformers

import attnscope
from attnscope.tiles import shelf
from attnscope.tiles.answer import answer
from attnscope.tiles.request import TileRequest
from attnscope.tracing.trace import Trace

SECONDS = 12 * 60
Found = Iterator[tuple[str, bool]]


class Setting:
    """`device`, `quick`: as asked; `tokens`: of the text; `long`: of one head alone."""

    def __init__(self, device: str, quick: bool) -> None:
        self.device, self.quick = torch.device(device), quick
        self.tokens, self.long = (257, 1031) if quick else (8192, 32_768)
        self.half = torch.bfloat16

    def model(self, implementation: str, dtype: torch.dtype = torch.float32) -> Any:
        torch.manual_seed(3)
        layers, width = (2, 96) if self.quick else (16, 1024)
        config = transformers.LlamaConfig(
            vocab_size=4096,
            hidden_size=width,
            intermediate_size=2 * width,
            num_hidden_layers=layers,
            num_attention_heads=width // 64 if not self.quick else 4,
            num_key_value_heads=4 if not self.quick else 2,
            head_dim=64 if not self.quick else 24,
            max_position_embeddings=self.long,
        )
        config._attn_implementation = implementation
        return transformers.LlamaForCausalLM(config).eval().to(self.device, dtype)

    @property
    def inputs(self) -> dict[str, Any]:
        ids = torch.randint(3, 4096, (1, self.tokens), generator=torch.Generator().manual_seed(5))
        return {"input_ids": ids.to(self.device), "use_cache": False}

    def timed(self, run: Callable[[], Any]) -> tuple[float, Any]:
        self.wait()
        begin = time.perf_counter()
        result = run()
        self.wait()
        return time.perf_counter() - begin, result

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()


class Unfit(Exception):
    """This machine cannot run the part; the message says why."""


@torch.no_grad()
def capture_of(setting: Setting, implementation: str, dtype: torch.dtype) -> Found:
    model, inputs = setting.model(implementation, dtype), setting.inputs
    model(**inputs)
    plain, expected = setting.timed(lambda: model(**inputs).logits)
    for store in ("device", "cpu", "disk"):
        with attnscope.capture(model, store=store) as recorder:
            seconds, logits = setting.timed(lambda: model(**inputs).logits)
        same = torch.equal(logits, expected)
        trace = recorder.trace()
        receipt = trace.verify()
        where = {str(x.device) for site in trace.sites for x in site.kept.values()}
        right = where == {str(expected.device) if store == "device" else "cpu"}
        yield f"store={store}: logits bit-equal, {seconds / plain:.2f} × the plain pass", same
        yield (
            f"store={store}: receipt {receipt.max_error:.1e} of {receipt.tolerance:.0e}, kept on {', '.join(where)}",
            (receipt.passed and right),
        )


def flash(setting: Setting) -> Found:
    if setting.device.type != "cuda" or find_spec("flash_attn") is None:
        raise Unfit("flash-attn is not installed, or there is no GPU")
    yield from capture_of(setting, "flash_attention_2", setting.half)


def sdpa(setting: Setting) -> Found:
    yield from capture_of(setting, "sdpa", torch.float32)


def bf16(setting: Setting) -> Found:
    yield from capture_of(setting, "sdpa", setting.half)


@torch.no_grad()
def offload(setting: Setting) -> Found:
    if find_spec("accelerate") is None:
        raise Unfit("accelerate is not installed")
    from accelerate import cpu_offload

    plain, inputs = setting.model("sdpa"), setting.inputs
    expected = plain(**inputs).logits
    model = cpu_offload(setting.model("sdpa").cpu(), execution_device=setting.device)
    with attnscope.capture(model) as recorder:
        logits = model(**inputs).logits
    yield "weights in main memory: logits bit-equal", torch.equal(logits, expected)
    yield "its receipt", recorder.trace().verify().passed


def statistics(setting: Setting) -> Found:
    trace = attnscope.trace(setting.model("sdpa"), inputs=setting.inputs, layers=[0, 1])
    here, found = setting.timed(lambda: trace.statistics().records())
    moved = attnscope.trace(setting.model("sdpa"), inputs=setting.inputs, layers=[0, 1], store="cpu")
    there, expected = setting.timed(lambda: moved.statistics().records())
    numbers = [(a[n], b[n]) for a, b in zip(found, expected, strict=True) for n in a if isinstance(a[n], float)]
    worst = max(abs(a - b) / max(1.0, abs(b)) for a, b in numbers)
    yield f"{len(numbers)} numbers as on the processor, to {worst:.1e}; {there / here:.1f} × as fast", worst < 1e-3


@torch.no_grad()
def tiles(setting: Setting) -> Found:
    torch.manual_seed(7)
    q, k, v = (torch.randn(1, setting.long, 64, device=setting.device) for _ in range(3))
    trace = Trace.from_qkv(q, k, v, is_causal=True)
    request = TileRequest(0, 0)
    attention, _ = setting.timed(
        lambda: torch.nn.functional.scaled_dot_product_attention(q[None], k[None], v[None], is_causal=True)
    )
    coarse, _ = setting.timed(lambda: answer(trace, TileRequest(0, 0, coarse=True)))
    exact, tile = setting.timed(lambda: answer(trace, request))
    rows, block = torch.arange(0, setting.long, max(1, setting.long // 16)), tile.block
    largest = torch.stack([trace.sites[0].weights(0, int(row))[0].cpu() for row in rows])
    cells = tile.values[rows // block]
    columns = torch.nn.functional.pad(largest, (0, cells.shape[1] * block - largest.shape[1]))
    below = columns.unflatten(1, (-1, block)).amax(-1) <= cells.clamp_min(0) * (1 + 1e-4) + 1e-7
    yield (
        f"exact picture {exact:.2f} s, {exact / attention:.1f} × SDPA; coarse {1e3 * coarse:.0f} ms",
        bool(below.all()),
    )
    shelf.forget()
    moved = Trace.from_qkv(q.cpu(), k.cpu(), v.cpu(), is_causal=True)
    near = (answer(moved, request).values - tile.values).abs().max()
    yield f"as on the processor, to {float(near):.1e}", float(near) < 1e-4


@torch.no_grad()
def edits(setting: Setting) -> Found:
    model, inputs = setting.model("sdpa"), setting.inputs
    expected = model(**inputs).logits
    with attnscope.edit(model) as edit:
        edit.head("L1H1").times(1.0)
        same = model(**inputs).logits
    yield "times(1): logits bit-equal", torch.equal(same, expected)
    with attnscope.edit(model) as edit:
        edit.head("L1H1").off()
        mine = model(**inputs).logits
    layer, size = model.model.layers[1].self_attn.o_proj, model.config.head_dim

    def zero(_: Any, given: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        z = given[0].clone()
        z[..., size : 2 * size] = 0
        return (z,)

    handle = layer.register_forward_pre_hook(zero)
    by_hand = model(**inputs).logits
    handle.remove()
    yield "off(): bit-equal to a hook that zeroes the head", torch.equal(mine, by_hand)
    yield "and it changes something", not torch.equal(mine, expected)
    yield "afterwards: bit-equal to before", torch.equal(model(**inputs).logits, expected)


PARTS = (sdpa, bf16, flash, offload, edits, tiles, statistics)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    setting, begin, wrong = Setting(given.device, given.quick), time.monotonic(), 0
    name = torch.cuda.get_device_name() if setting.device.type == "cuda" else "processor"
    print(
        f"{name}, torch {torch.__version__}, transformers {transformers.__version__}, {setting.tokens:,} tokens",
        flush=True,
    )
    for part in PARTS:
        if time.monotonic() - begin > SECONDS * 0.8:
            print(f"{part.__name__}: left out, the time is up", flush=True)
            continue
        try:
            for said, right in part(setting):
                wrong += not right
                print(f"{part.__name__}: {said}: {'ok' if right else 'WRONG'}", flush=True)
        except Unfit as why:
            print(f"{part.__name__}: left out, {why}", flush=True)
        except Exception as error:
            wrong += 1
            print(f"{part.__name__}: {type(error).__name__}: {str(error)[:200]}: WRONG", flush=True)
        if setting.device.type == "cuda":
            torch.cuda.empty_cache()
    print(f"{time.monotonic() - begin:.0f} s, {wrong} wrong", flush=True)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
