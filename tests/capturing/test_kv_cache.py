"""Captured steps of a cache: bit-equal to what attention got, at a cost that does not grow with the text."""

import gc
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import cache_utils

import attnscope
import tiny_models as tiny
from attnscope.capturing.listen import cache_updates
from attnscope.capturing.read.kv_cache import Kept, KeyKeeper

BATCH, HEADS, SIZE, VALUE_SIZE = 2, 3, 5, 7
CACHES: dict[str, Callable[[], Any]] = {
    "growing": lambda: cache_utils.DynamicLayer(),
    "sliding": lambda: cache_utils.DynamicSlidingWindowLayer(sliding_window=6),
    "static": lambda: cache_utils.StaticLayer(max_cache_len=61),
    "static sliding": lambda: cache_utils.StaticSlidingWindowLayer(max_cache_len=61, sliding_window=6),
}
each_cache = pytest.mark.parametrize("name", CACHES)


class Steps:
    """Steps of one layer of a cache, kept as a recording keeps them, beside plain copies of what the cache returned."""

    def __init__(self, layer: Any) -> None:
        self.cache, self.keeper, self.compared = cache_utils.Cache(layers=[layer]), KeyKeeper(), 0
        self.kept: list[tuple[Callable[[int], tuple[Tensor, Tensor]], Tensor, Tensor]] = []
        self.random = torch.Generator().manual_seed(11)

    @property
    def layer(self) -> Any:
        return self.cache.layers[0]

    def step(self, new: int) -> None:
        key, value = (torch.randn(BATCH, HEADS, new, size, generator=self.random) for size in (SIZE, VALUE_SIZE))
        keys, values = self.cache.update(key, value, 0)
        self.kept.append((self.keeper.keep("layer", 0, new, keys, values), keys.clone(), values.clone()))

    def check(self) -> None:
        """Nothing that happens to the cache later changes what was kept."""
        self.layer.keys.fill_(7)
        self.layer.values.fill_(7)
        for of_row, *expected in self.kept:
            for index in range(BATCH):
                assert all(map(torch.equal, of_row(index), (whole[index] for whole in expected)))


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Caches are watched; the lengths at which earlier rows were compared number by number."""
    lengths: list[int] = []
    begins = Kept.begins

    def noted(self: Kept, key: Tensor, value: Tensor, length: int) -> bool:
        lengths.append(length)
        return begins(self, key, value, length)

    monkeypatch.setattr(Kept, "begins", noted)
    restore = cache_updates.watch_caches()
    yield lengths
    restore()


@each_cache
@pytest.mark.parametrize("first", [1, 3, 11])
def test_steps_are_bit_equal_to_what_attention_got(name: str, first: int, compared: list[int]) -> None:
    steps = Steps(CACHES[name]())
    for new in (first, *[1] * 23):
        steps.step(new)
    assert compared == []  # no step looked at earlier numbers
    steps.step(3)
    steps.step(1)
    steps.check()


def _write(layer: Any) -> None:
    layer.keys[:, :, 1] = 3.0


def _write_values(layer: Any) -> None:
    layer.values[:, 1] *= 2


def _reorder(layer: Any) -> None:
    layer.reorder_cache(torch.tensor([1, 0]))


def _replace(layer: Any) -> None:
    layer.keys, layer.values = layer.keys + 1, layer.values.clone()


@each_cache
@pytest.mark.parametrize("change", [_write, _write_values, _reorder, _replace, lambda layer: layer.reset()])
def test_a_cache_that_was_changed_between_steps(name: str, change: Callable[[Any], None], compared: list[int]) -> None:
    steps = Steps(CACHES[name]())
    for new in (5, 1, 1):
        steps.step(new)
    change(steps.layer)
    for new in (1, 1, 1):
        steps.step(new)
    assert len(compared) <= 1  # the step after the change is compared, those behind it go on as before
    steps.check()


def test_a_cache_that_was_cropped(compared: list[int]) -> None:
    steps = Steps(CACHES["growing"]())
    for new in (7, 1, 1):
        steps.step(new)
    steps.layer.crop(-4)
    for new in (1, 1):
        steps.step(new)
    steps.check()


def test_caches_that_are_not_known_are_compared(compared: list[int]) -> None:
    class Doubled(cache_utils.DynamicLayer):  # pyright: ignore
        """Rounds what it holds more at each step, as quantized caches do."""

        def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **options: Any) -> Any:
            super().update(key_states, value_states)
            self.keys = self.keys * 2  # type: ignore[operator]
            return self.keys, self.values

    steps = Steps(Doubled())
    for new in (5, 1, 1):
        steps.step(new)
    assert compared == [5, 6]
    steps.check()


def test_inference_mode_counts_no_writes(compared: list[int]) -> None:
    steps = Steps(CACHES["growing"]())
    with torch.inference_mode():
        for new in (5, 1, 1):
            steps.step(new)
        steps.layer.keys[:, :, 2] = 3.0
        steps.step(1)
    steps.layer.keys, steps.layer.values = steps.layer.keys.clone(), steps.layer.values.clone()
    steps.step(1)  # outside of it, after it
    assert compared == [5, 6, 7, 8]
    steps.check()


class Touched(TorchDispatchMode):
    """Counts the numbers that operations make or read, views left out."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        if not function.is_view and "empty" not in function.name():
            tensors = [x for x in (*args, result) if isinstance(x, Tensor)]
            self.numbers += max((x.numel() for x in tensors), default=0)
        return result


@each_cache
def test_the_cost_of_a_step_does_not_grow_with_the_text(name: str, compared: list[int]) -> None:
    costs = []
    for length in (8, 53):
        steps = Steps(CACHES[name]())
        steps.step(length)
        steps.step(1)
        keys, values = steps.cache.update(
            torch.randn(BATCH, HEADS, 1, SIZE), torch.randn(BATCH, HEADS, 1, VALUE_SIZE), 0
        )
        with Touched() as touched:
            steps.keeper.keep("layer", 0, 1, keys, values)
        costs.append(touched.numbers)
    assert costs[0] == costs[1] <= 2 * BATCH * HEADS * (SIZE + VALUE_SIZE)


def test_cross_attention_keeps_its_keys_once() -> None:
    model = tiny.model("t5_generates", "sdpa")
    with attnscope.capture(model, keep_passes=99) as recorder:
        model.generate(tiny.ids(), max_new_tokens=5, do_sample=False, eos_token_id=None)
    keys = [recorder.trace(forward=n).site(1, "cross").k for n in range(2, 5)]
    assert len({k.data_ptr() for k in keys}) == 1


def test_a_window_lets_go_of_what_it_dropped(compared: list[int]) -> None:
    steps = Steps(CACHES["sliding"]())
    for _ in range(200):
        steps.step(1)
        steps.kept.clear()
    kept = next(iter(steps.keeper._kept.values()))
    assert sum(len(piece.keys[0, 0]) for piece in {id(p.keys): p for p in kept.rows.pieces}.values()) < 40


def test_no_cache_is_kept_alive() -> None:
    model, cache = tiny.model("llama", "sdpa"), cache_utils.DynamicCache()
    with attnscope.capture(model) as recorder:
        for seed in (1, 2):
            model(tiny.ids(1, 5, seed=seed), past_key_values=cache)
        held: Any = cache.layers[0]
        layer, keys = weakref.ref(held), weakref.ref(held.keys)
        del cache, held
        gc.collect()
        assert layer() is None
        assert keys() is None
    assert recorder.trace().verify().passed
    assert len(cache_updates._made) == len(cache_updates._left) == 0
