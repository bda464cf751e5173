"""What a capture costs, beside a plain forward pass, `output_attentions=True` and TransformerLens.

    python benchmarks/capture.py            # everything (about 20 minutes); writes its section of benchmarks/RESULTS.md
    python benchmarks/capture.py --quick    # short texts, few rounds (about two minutes); prints only

The model has BERT-base's sizes and random weights, and reads T random tokens. Time: rounds in which the rivals take
turns, first each time another; every ratio is taken within a round, and the median over rounds is what counts. Memory:
each figure comes from a fresh process that builds the model, runs it once on 16 tokens (and traces them, so that the code of
attnscope counts nowhere), gives freed memory back, resets
Linux's high-water mark of resident memory (the counter behind ru_maxrss, which would otherwise hold the peak of
building the model, and that of the parent process) and runs once.
"""

import argparse
import contextlib
import ctypes
import functools
import gc
import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # nothing is downloaded

import torch
from results import write_section

LAYERS, WIDTH, LONGEST = 12, 768, 4096
LENS_CACHE = ("q.hook_out", "k.hook_out", "v.hook_out", "hook_pattern")
LLAMA = 8, 1024  # layers and width of the Llama whose memory is measured
MB = 1e6


# --- what is run ------------------------------------------------------------------------------------------------------


@functools.cache
def build(attention: str) -> Any:
    """BERT-base with random weights and room for 4,096 tokens. Of its heads this is the smallest TransformerLens knows."""
    from transformers import BertConfig, BertForNextSentencePrediction

    torch.manual_seed(0)
    config = BertConfig(max_position_embeddings=LONGEST, attn_implementation=attention)
    config.architectures = ["BertForNextSentencePrediction"]
    return BertForNextSentencePrediction(config).eval()


@functools.cache
def build_llama(layers: int, width: int) -> Any:
    """Llama's shapes with random weights: heads of 64, four to a key/value head."""
    from transformers import LlamaConfig, LlamaModel

    torch.manual_seed(0)
    heads, most = width // 64, 2 * LONGEST
    sizes = {
        "hidden_size": width,
        "intermediate_size": 11 * width // 4,
        "num_hidden_layers": layers,
        "vocab_size": 30000,
    }
    shared = {"num_attention_heads": heads, "num_key_value_heads": heads // 4, "max_position_embeddings": most}
    return LlamaModel(LlamaConfig(**sizes, **shared)).eval()


def runner(kind: str) -> Callable[[torch.Tensor], Any]:
    """A function that takes [1, T] ids: plain, trace (attnscope), eager (output_attentions=True) or lens, all without
    gradients; or lens_as_called, as TransformerLens runs by default, with them."""
    import attnscope

    if kind.startswith("llama"):
        model, kind = build_llama(*LLAMA), kind.removeprefix("llama ")
    else:
        model = _bridge() if kind.startswith("lens") else build("eager" if kind == "eager" else "sdpa")
    with_gradients = kind == "lens_as_called"
    run = {
        "plain": lambda ids: model(input_ids=ids),
        "trace": lambda ids: attnscope.trace(model, None, inputs={"input_ids": ids}),
        "eager": lambda ids: model(input_ids=ids, output_attentions=True),
        "lens": lambda ids: model.run_with_cache(ids, names_filter=lambda name: name.endswith(LENS_CACHE)),
    }["lens" if with_gradients else kind]
    return run if with_gradients else torch.no_grad()(run)


def _bridge() -> Any:
    """TransformerLens around the same model. It insists on a tokenizer, which ids as input never use."""
    from tokenizers import Tokenizer, models
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({"[UNK]": 0, "[PAD]": 1}, unk_token="[UNK]"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]", pad_token="[PAD]")
    name = "google-bert/bert-base-uncased"
    return TransformerBridge.boot_transformers(name, hf_model=build("eager"), tokenizer=tokenizer)


def tokens(length: int) -> torch.Tensor:
    return torch.randint(1000, 30000, (1, length), generator=torch.Generator().manual_seed(length))


# --- time and memory --------------------------------------------------------------------------------------------------


class Spent(NamedTuple):
    wall: float
    cpu: float


def race(runs: dict[str, Callable], ids: torch.Tensor, rounds: int) -> dict[str, list[Spent]]:
    """Seconds of every run in every round, after one round that does not count."""
    spent: dict[str, list[Spent]] = {name: [] for name in runs}
    names = list(runs)
    for turn in range(rounds + 1):
        for name in names:
            gc.collect()
            wall, cpu = time.perf_counter(), time.process_time()
            kept = runs[name](ids)
            took = Spent(time.perf_counter() - wall, time.process_time() - cpu)
            del kept
            if turn:
                spent[name].append(took)
        names = names[1:] + names[:1]
    return spent


def ratios(above: list[Spent], below: list[Spent], clock: str) -> tuple[float, float, float]:
    """(median, first quartile, third quartile) of the ratio within each round."""
    values = [getattr(a, clock) / getattr(b, clock) for a, b in zip(above, below, strict=True)]
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return statistics.median(values), low, high


def peak(kind: str, length: int, threads: int, own_pages: bool = False) -> int:
    """Peak resident bytes of a fresh process that runs this kind once. `own_pages`: each large tensor has pages of its own,
    which go back to the system when it is freed, and not a place in glibc's heap."""
    command = [sys.executable, __file__, "--peak", kind, str(length), "--threads", str(threads)]
    environment = {**os.environ, **({"MALLOC_MMAP_THRESHOLD_": str(1 << 18)} if own_pages else {})}
    ran = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return json.loads(ran.stdout.splitlines()[-1])


def print_peak(kind: str, length: int) -> None:
    run, ids = runner(kind), tokens(length)
    run(ids[:, :16])
    if kind.endswith("plain"):  # attnscope's own code, some 9 MB, is in memory in each
        runner(kind.replace("plain", "trace"))(ids[:, :16])
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    kept = run(ids)
    status = Path("/proc/self/status").read_text()
    del kept
    print(int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024)


# --- the report -------------------------------------------------------------------------------------------------------


class Report:
    """Prints every line as it is known, and keeps it for RESULTS.md."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, *lines: str) -> None:
        print(*lines, sep="\n", flush=True)
        self.lines += lines

    def table(self, title: str, *columns: str) -> None:
        self.say("", title, "", f"| {' | '.join(columns)} |", "|-" * len(columns) + "|")

    def row(self, *cells: str) -> None:
        self.say(f"| {' | '.join(cells)} |")

    def write(self, section: str) -> None:
        write_section(section, self.lines)


def goal(reached: bool) -> str:
    return "✓" if reached else "✕"


def spread(values: tuple[float, float, float], digits: int) -> str:
    median, low, high = values
    return f"**{median:.{digits}f}** ({low:.{digits}f} to {high:.{digits}f})"


def machine(threads: int) -> str:
    cpu = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = [f"{name} {importlib.metadata.version(name)}" for name in ("torch", "transformers")]
    return (
        f"Machine: {cpu[1].strip() if cpu else platform.machine()}, {os.cpu_count()} cores, {memory:.0f} GiB; "
        f"{platform.system()}, Python {platform.python_version()}, {', '.join(versions)}; fp32, {threads} thread(s). "
        f"Load by other programs when it began: {os.getloadavg()[0]:.1f}."
    )


def time_section(report: Report, lengths: list[int], rounds: int) -> None:
    report.table(
        f"**Time**, trace ÷ plain forward pass under sdpa: median of {rounds} rounds (quartiles). Goal: wall time ≤ 1.05.",
        *["T", "plain s", "trace s", "wall ratio", "CPU ratio", "goal"],
    )
    runs = {kind: runner(kind) for kind in ("plain", "trace")}
    for length in lengths:
        spent = race(runs, tokens(length), rounds)
        seconds = [f"{statistics.median(s.wall for s in spent[name]):.2f}" for name in runs]
        wall, cpu = (ratios(spent["trace"], spent["plain"], clock) for clock in ("wall", "cpu"))
        report.row(f"{length:,}", *seconds, spread(wall, 3), spread(cpu, 3), goal(wall[0] <= 1.05))


def memory_section(report: Report, lengths: list[int], threads: int) -> None:
    report.table(
        "**Memory**, peak of a fresh process in MB. Goals: trace − plain ≤ 1.1 × the bytes of q, k, v; at 4,096 tokens "
        "≤ 1/10 of what `output_attentions=True` (eager) needs above plain.",
        *["T", "plain", "trace", "output_attentions", "trace − plain", "q, k, v", "÷ q, k, v", "goal"],
        *["÷ eager's", "goal"],
    )
    for length in lengths:
        plain, trace, eager = (peak(kind, length, threads) for kind in ("plain", "trace", "eager"))
        more, kept = trace - plain, LAYERS * 3 * length * WIDTH * 4
        shown = [f"{size / MB:,.0f}" for size in (plain, trace, eager, more, kept)]
        share = more / (eager - plain)
        judged = goal(share <= 0.1) if length == LONGEST else ""
        more_goal = goal(more <= 1.1 * kept)
        report.row(f"{length:,}", *shown, f"**{more / kept:.3f}**", more_goal, f"**{share:.3f}**", judged)


def llama_section(report: Report, length: int, processes: int, threads: int) -> None:
    layers, width = LLAMA
    kept = layers * length * (width + 2 * width // 4) * 4
    report.say(
        "", f"Llama's shapes ({layers} layers, {width} wide, four heads to a key/value head), {length:,} tokens:"
    )
    pairs = {
        own: [[peak(f"llama {kind}", length, threads, own) for kind in ("plain", "trace")] for _ in range(processes)]
        for own in (True, False)
    }
    shares = {own: [(trace - plain) / kept for plain, trace in found] for own, found in pairs.items()}
    written = {own: ", ".join(f"{share:.2f}" for share in found) for own, found in shares.items()}
    plain = [one / MB for one, _ in pairs[False]]
    report.say(
        f"trace − plain ÷ the bytes of q, k, v ({kept / MB:.0f} MB) in {processes} pairs of fresh processes is {written[True]} "
        f"{goal(max(shares[True]) <= 1.1)} (goal: ≤ 1.1 in each), where each large tensor has pages of its own "
        f"(MALLOC_MMAP_THRESHOLD_). In glibc's heap chance decides what lies between freed places: there it is "
        f"{written[False]}, and a plain pass alone peaks between {min(plain):,.0f} and {max(plain):,.0f} MB."
    )


def generation_section(report: Report, lengths: list[int], rounds: int) -> None:
    layers, steps = 4, 24
    report.table(
        f"**Generation**: what a capture adds to one step of one layer, ms of processor time (Llama's shapes, {layers} layers, "
        f"512 wide, {steps} steps of one token, median of {rounds} rounds). Goal: ≤ 0.25, the same at every length.",
        *["cache", "tokens so far", "plain ms", "a capture adds ms", "goal"],
    )
    from transformers import DynamicCache, StaticCache

    import attnscope

    model = build_llama(layers, 512)

    @torch.no_grad()
    def spent(cache: Any, ids: torch.Tensor, captured: bool) -> float:
        """Milliseconds per step and layer, the first two passes left out."""
        with attnscope.capture(model) if captured else contextlib.nullcontext():
            for given in (ids, ids[:, :1]):
                model(given, past_key_values=cache)
            begin = time.process_time()
            for _ in range(steps):
                model(ids[:, :1], past_key_values=cache)
            return (time.process_time() - begin) / steps / layers * 1e3

    for name in ("growing", "static"):
        for length in lengths:
            room = length + steps + 2
            make = (
                DynamicCache if name == "growing" else functools.partial(StaticCache, model.config, max_cache_len=room)
            )
            pairs = [[spent(make(), tokens(length), captured) for captured in (False, True)] for _ in range(rounds)]
            more = statistics.median(captured - plain for plain, captured in pairs)
            plain = statistics.median(plain for plain, _ in pairs)
            report.row(name, f"{length:,}", f"{plain:.2f}", f"**{more:.2f}**", goal(more <= 0.25))


def short_section(report: Report, rounds: int) -> None:
    """Many short texts: one by one, and as rows of a batch."""
    import attnscope

    model, ids, rows = build("sdpa"), tokens(12), torch.cat([tokens(16)] * 32)
    rows = rows.roll(1, 1)

    def batch(_: Any) -> Any:
        with torch.no_grad(), attnscope.capture(model) as recorder:
            model(input_ids=rows)
        return [recorder.trace(input_ids=rows, index=index) for index in range(len(rows))]

    one = race({kind: runner(kind) for kind in ("plain", "trace")}, ids, rounds)
    more = statistics.median((b.cpu - a.cpu) * 1e3 for a, b in zip(one["plain"], one["trace"], strict=True))
    plain = statistics.median(spent.cpu for spent in one["plain"]) * 1e3
    many = race({"plain": lambda _: runner("plain")(rows), "batch": batch}, ids, max(5, rounds // 8))
    ratio = ratios(many["batch"], many["plain"], "cpu")
    report.say(
        "",
        f"**Short texts**, processor time. A trace of {ids.shape[1]} tokens costs **{more:.2f} ms** more than its forward pass of "
        f"{plain:.1f} ms (median of {rounds} rounds; goal: ≤ 1.5 ms {goal(more <= 1.5)}). A capture of {len(rows)} rows of "
        f"{rows.shape[1]} tokens and a trace of each row take {spread(ratio, 2)} × the forward pass of the batch "
        f"(goal: ≤ 1.3 {goal(ratio[0] <= 1.3)}).",
    )


def lens_section(report: Report, rounds: dict[int, int], threads: int) -> None:
    """`rounds`: how many, by length."""
    if importlib.util.find_spec("transformer_lens") is None:
        report.say("", "TransformerLens is not installed here: pip install 'attnscope[bench]'.")
        return
    report.table(
        f"TransformerLens {importlib.metadata.version('transformer-lens')}, `run_with_cache` of q, k, v and pattern, beside a "
        "trace in the same rounds: median (quartiles). Goal: trace at least 3 × faster than a call of `run_with_cache` as it "
        "stands, which keeps gradients on; inside `torch.no_grad()` it is shown beside.",
        *["T", "rounds", "plain s", "trace s", "TransformerLens", "s", "÷ plain", "÷ trace", "goal"],
    )
    runs = {kind: runner(kind) for kind in ("plain", "trace", "lens_as_called", "lens")}
    for length, turns in rounds.items():
        spent = race(runs, tokens(length), turns)
        median = {name: f"{statistics.median(s.wall for s in spent[name]):.2f}" for name in runs}
        for name, words in (("lens_as_called", "as called"), ("lens", "without gradients")):
            over_plain, over_trace = (ratios(spent[name], spent[other], "wall") for other in ("plain", "trace"))
            judged = goal(over_trace[0] >= 3) if name == "lens_as_called" else ""
            shown = (spread(over_plain, 2), spread(over_trace, 2), judged)
            report.row(f"{length:,}", str(turns), median["plain"], median["trace"], words, median[name], *shown)
    length = min(rounds)
    ids = tokens(length)
    site, (_, cache) = runs["trace"](ids).sites[-1], runs["lens"](ids)
    prefix = f"blocks.{LAYERS - 1}.attn."
    q_error = (cache[prefix + "q.hook_out"][0].transpose(0, 1) - site.q).abs().max()
    weight_error = (cache[prefix + "hook_pattern"][0, 0] - site.weights(head=0)).abs().max()
    above = {kind: peak(kind, length, threads) - peak("plain", length, threads) for kind in ("lens", "trace")}
    report.say(
        "",
        f"Both hold the same numbers: in the last layer q differs by at most {q_error:.0e}, the weights of head 0 by "
        f"{weight_error:.0e}. At {length:,} tokens TransformerLens needs {above['lens'] / MB:,.0f} MB above plain, a trace "
        f"{above['trace'] / MB:,.0f} MB.",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="short texts, few rounds; prints only")
    parser.add_argument("--threads", type=int, default=1, help="torch threads (1: least disturbed by other programs)")
    parser.add_argument("--only", choices=["capture", "many", "lens"], help="one section only")
    parser.add_argument("--peak", nargs=2, metavar=("KIND", "T"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.peak:
        print_peak(options.peak[0], int(options.peak[1]))
        return
    lengths, pairs = ([512, 1024], 5) if options.quick else ([512, 2048, 4096], 15)
    rounds = {512: 3} if options.quick else {2048: 5, 4096: 3}
    command = " ".join(["python", "benchmarks/capture.py", *sys.argv[1:]])
    sections = {
        "capture": "Capture",
        "many": "Capture: short texts, generation, Llama's shapes",
        "lens": "Capture beside TransformerLens",
    }
    for section, title in sections.items():
        if options.only and options.only != section:
            continue
        report = Report()
        report.say(f"## {title}", "", f"`{command}` prints these figures. {machine(options.threads)}")
        if section == "capture":
            memory_section(report, lengths, options.threads)
            time_section(report, lengths, pairs)
        elif section == "many":
            llama_section(report, 1024 if options.quick else 2048, 3, options.threads)
            generation_section(report, [256, 1024, 4096], 5)
            short_section(report, 40)
        else:
            lens_section(report, rounds, options.threads)
        if not options.quick:
            report.write(section)


if __name__ == "__main__":
    main()
