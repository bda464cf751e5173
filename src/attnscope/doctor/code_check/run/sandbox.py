"""Runs the code under test once, so that whatever it does ends in an Outcome.

It may raise, loop for ever, print, change its inputs in place, or be random. The time limit works by SIGALRM and so holds
on the main thread of a process on Unix only, and not against code that swallows every exception in a loop; the command
line runs everything in a child process that is killed. Each run starts from
a seed of its own, so two runs of random code differ, and a run with every dropout switched off differs from one without.
"""

import contextlib
import functools
import inspect
import linecache
import random
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from attnscope.doctor.code_check.run.printed import Printed

LIMIT = 10.0  # seconds for one call
TOTAL = 40.0  # seconds for all calls of one examination
_SPENT: ContextVar[list[float] | None] = ContextVar("spent", default=None)
EXPONENTIALS = {"softmax", "softmax_", "log_softmax", "exp", "exp_", "exp2", "logsumexp"}
MOST_JOINED = 32  # tensors that were put side by side, and are remembered
MOST_SCORES = 64  # calls of softmax that are remembered


class OutOfTime(BaseException):
    """Not an Exception, so that user code that catches every Exception does not catch it."""


class Spent(Exception):
    """All calls together have taken the seconds that one examination has."""


@contextlib.contextmanager
def budget() -> Iterator[None]:
    """Adds up what the runs inside take; the run after TOTAL raises Spent."""
    token = _SPENT.set([0.0])
    try:
        yield
    finally:
        _SPENT.reset(token)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Tensors of a few hundred numbers gain nothing from a second thread, and wait for it where the machine is busy."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def _no_seeds() -> Iterator[None]:
    """Seeds that the code sets on this thread have no effect, so that they cannot hide its randomness."""
    mine, places = threading.get_ident(), ((torch, "manual_seed"), (torch.random, "manual_seed"), (random, "seed"))
    before = [getattr(place, name) for place, name in places]

    def quiet(seed: Callable) -> Callable:
        return lambda *args, **kwargs: None if threading.get_ident() == mine else seed(*args, **kwargs)

    for (place, name), seed in zip(places, before, strict=True):
        setattr(place, name, quiet(seed))
    try:
        yield
    finally:
        for (place, name), seed in zip(places, before, strict=True):
            setattr(place, name, seed)


@dataclass
class Seen:
    """What the watch saw in one run."""

    dropout: float = 0.0  # largest probability of a dropout that was on
    low: torch.dtype | None = None  # a half-precision type that results had
    overflow: str = ""  # the operation whose finite inputs became -inf in half precision
    sentinels: list[float] = field(default_factory=list)
    filled: bool = False  # whether numbers were replaced by 0 or nearly 0: by masked_fill, where or an assignment
    turned: bool = False  # whether a cosine was taken, or a complex number made from an angle
    scores: list[Tensor] = field(default_factory=list)  # what went into a softmax, or into torch's own attention
    joined: list[Tensor] = field(default_factory=list)  # what was put side by side by torch.cat
    names: set[str] = field(default_factory=set)  # functions of torch that were called
    exponents: set[tuple[int, ...]] = field(default_factory=set)  # shapes of what went into a softmax or an exponential


@dataclass(frozen=True)
class Outcome:
    """One run: the value, or the error; and what else it did."""

    value: Any = None
    error: str = ""
    line: int | None = None
    timed_out: bool = False
    printed: str = ""
    mutated: tuple[int, ...] = ()  # positions of inputs that were changed in place
    seconds: float = 0.0
    seen: Seen = field(default_factory=Seen)

    @property
    def ok(self) -> bool:
        return not self.error


class _Watch(TorchFunctionMode):
    """Notes dropout and half precision; with `still`, switches dropout off."""

    def __init__(self, seen: Seen, still: bool) -> None:
        super().__init__()
        self.seen, self.still = seen, still

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        if "dropout" in name and args and isinstance(args[0], Tensor):
            p = _argument(args, kwargs, 1, "p", 0.5)
            on = bool(_argument(args, kwargs, 2, "train" if "train" in kwargs else "training", True))
            if on and p:
                self.seen.dropout = max(self.seen.dropout, float(p))
                if self.still:
                    return args[0]
        elif name == "scaled_dot_product_attention":
            p = _argument(args, kwargs, 4, "dropout_p", 0.0)
            if p:
                self.seen.dropout = max(self.seen.dropout, float(p))
                if self.still and "dropout_p" in kwargs:
                    kwargs["dropout_p"] = 0.0
                elif self.still:
                    args = (*args[:4], 0.0, *args[5:])
        result = func(*args, **kwargs)
        if name in _FILLS and not self.seen.filled:
            numbers = args[2 if name == "__setitem__" else 1 :]
            self.seen.filled = any(map(_nothing, (*numbers, *kwargs.values())))
        self.seen.turned = self.seen.turned or name in ("cos", "polar")
        self.seen.names.add(name)
        if name in ("cat", "concat", "concatenate") and len(self.seen.joined) < MOST_JOINED:
            parts = _argument(args, kwargs, 0, "tensors", ())
            self.seen.joined += [x.detach() for x in parts if isinstance(x, Tensor) and x.ndim > 2 and x.numel()]
        if name in EXPONENTIALS and len(self.seen.exponents) < MOST_SCORES:
            x = _argument(args, kwargs, 0, "input", None)
            self.seen.exponents.add(tuple(x.shape) if isinstance(x, Tensor) else ())
        if name in ("softmax", "log_softmax") and isinstance(result, Tensor) and len(self.seen.scores) < MOST_SCORES:
            self.seen.scores.append(_argument(args, kwargs, 0, "input", None))
        elif name == "scaled_dot_product_attention" and len(self.seen.scores) < MOST_SCORES:
            self.seen.scores.append(_scores_of(*args, **kwargs))
        if isinstance(result, Tensor) and "__get__" not in name:
            self._note(name, result, args, kwargs)
        return result

    def _note(self, name: str, result: Tensor, args: Any, kwargs: Any) -> None:
        numbers = [x for x in (*args, *kwargs.values()) if isinstance(x, float | int) and not isinstance(x, bool)]
        least = -1 if name in _FILLS else -50  # what fills may be a sentinel that is far too large
        self.seen.sentinels += [float(x) for x in numbers if -1e30 < x < least]
        if result.dtype not in (torch.float16, torch.bfloat16):
            return
        self.seen.low = result.dtype
        inputs = [x for x in (*args, *kwargs.values()) if isinstance(x, Tensor)]
        infinite = any(abs(x) == float("inf") for x in numbers)
        if self.seen.overflow or infinite or not inputs or name in ("masked_fill", "where"):
            return
        finite = all(bool(x.isfinite().all()) for x in inputs if x.is_floating_point())
        if finite and bool((result == -torch.inf).any()):
            biggest = min(numbers, default=0.0)
            self.seen.overflow = f"{name}({biggest:g})" if biggest < -1e3 else name


def _scores_of(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """What enters the softmax inside torch's own attention."""
    if enable_gqa:
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], dim=-3)
    scores = query @ key.transpose(-2, -1) * (query.shape[-1] ** -0.5 if scale is None else scale)
    if is_causal:
        scores = scores.masked_fill(torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1), -torch.inf)
    if attn_mask is None:
        return scores
    return scores.masked_fill(~attn_mask, -torch.inf) if attn_mask.dtype == torch.bool else scores + attn_mask


_FILLS = ("masked_fill", "masked_fill_", "where", "__setitem__")


def _nothing(x: Any) -> bool:
    """Whether this is 0 or nearly 0: a number, or a tensor of nothing else."""
    if isinstance(x, Tensor):
        return x.is_floating_point() and x.numel() > 0 and bool((x.abs() < 1e-3).all())
    return isinstance(x, int | float) and not isinstance(x, bool) and abs(x) < 1e-3


def _argument(args: Any, kwargs: Any, position: int, name: str, default: Any) -> Any:
    return args[position] if len(args) > position else kwargs.get(name, default)


@contextlib.contextmanager
def _limit(seconds: float) -> Iterator[None]:
    """Raises OutOfTime in the code inside, where signals can be had."""
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: Any) -> None:
        raise OutOfTime

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds, 0.5)  # again and again: an `except:` may swallow the first
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def run(
    fn: Callable,
    args: tuple,
    kwargs: dict[str, Any] | None = None,
    *,
    seed: int = 0,
    still: bool = False,
    limit: float | None = None,
) -> Outcome:
    """Calls fn once on copies of the tensors given. Never raises, but for KeyboardInterrupt, and Spent inside a budget."""
    kwargs, limit, spent = kwargs or {}, limit or LIMIT, _SPENT.get()
    if spent is not None and spent[0] > TOTAL:
        raise Spent
    given = tuple(x.clone() if isinstance(x, Tensor) else x for x in args)
    named = {name: x.clone() if isinstance(x, Tensor) else x for name, x in kwargs.items()}
    seen, out = Seen(), Printed()
    state, other = torch.get_rng_state(), random.getstate()
    value, error, line, timed_out = None, "", None, False
    started = time.perf_counter()
    try:
        # torch.manual_seed notes where it was called, once for each kind of device: half of the time of a check
        torch.default_generator.manual_seed(seed)
        random.seed(seed)
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            with torch.no_grad(), _limit(limit), _no_seeds(), _Watch(seen, still):
                value = fn(*given, **named)
    except OutOfTime:
        timed_out, error = True, f"did not return within {limit:g} s"
    except KeyboardInterrupt:
        raise
    except BaseException as problem:  # SystemExit too: user code may call exit()
        error = f"{type(problem).__name__}: {problem}".strip()
        line = _own_line(problem, fn)
    finally:
        torch.set_rng_state(state)
        random.setstate(other)
    if spent is not None:
        spent[0] += time.perf_counter() - started
    before, after = (*args, *kwargs.values()), (*given, *named.values())
    mutated = tuple(
        i
        for i, (a, b) in enumerate(zip(before, after, strict=True))
        if isinstance(a, Tensor) and (a.shape != b.shape or not torch.equal(a.nan_to_num(), b.nan_to_num()))
    )
    return Outcome(value, error, line, timed_out, out.getvalue(), mutated, time.perf_counter() - started, seen)


def _own_line(problem: BaseException, fn: Any) -> int | None:
    """The deepest line of the user's own file in the traceback."""
    files = {
        f.co_filename for f in (getattr(m, "__code__", None) for part in own_parts(fn) for m in methods_of(part)) if f
    }
    lines = [frame.lineno for frame in traceback.extract_tb(problem.__traceback__) if frame.filename in files]
    return lines[-1] if lines else None


def own_parts(fn: Any) -> list[Any]:
    """What the user wrote: the function; of a module its class, and the classes it inherits from, but for torch's."""
    if isinstance(fn, functools.partial):
        return own_parts(fn.func)
    if not isinstance(fn, torch.nn.Module):
        return [inspect.unwrap(fn)] if inspect.isroutine(fn) or isinstance(fn, type) else [type(fn)]
    return [kind for kind in type(fn).__mro__ if kind.__module__.split(".")[0] not in ("torch", "builtins")] or [
        type(fn)
    ]


def methods_of(part: Any) -> list[Any]:
    """The functions of a class, or the function itself."""
    return [f for f in vars(part).values() if inspect.isfunction(f)] if isinstance(part, type) else [part]


def source_of(fn: Any) -> str:
    """The user's source with its comments and docstrings, or an empty string."""
    return "\n".join(line for part in own_parts(fn) for line in lines_of(part)[1])


def lines_of(part: Any) -> tuple[int, list[str]]:
    """The number of the first line of a function or class, and its lines; none where they are not to be had."""
    with contextlib.suppress(OSError, TypeError):
        lines, start = inspect.getsourcelines(part)
        return start, [line.rstrip("\n") for line in lines]
    if not isinstance(part, type):
        return 0, []
    # A class that was defined in a notebook has no file to be found in; its methods have their source all the same.
    known = [(start, lines) for start, lines in map(lines_of, methods_of(part)) if lines]
    if not known:
        return 0, []
    first, last = min(start for start, _ in known), max(start + len(lines) for start, lines in known)
    whole = linecache.getlines(methods_of(part)[0].__code__.co_filename)[first - 1 : last - 1]
    return first, [line.rstrip("\n") for line in whole]
