"""Patches that a tower reads in parts stand at their true places: windows, frames, calls. Against the vectors that go in,
and against pixels: one patch of them changed moves the token of its name, and no other."""

import re
from typing import Any

import pytest
import torch
import transformers as T

import attnscope
import tiny_models as tiny

SWIN = {"image_size": 32, "patch_size": 2, "embed_dim": 12, "depths": [2, 2], "num_heads": [2, 3], "window_size": 4}
SAM = {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 4,
    "window_size": 3,
    "global_attn_indexes": [1],
}


def _model(kind: str) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        if kind == "swin":
            made = T.SwinModel(T.SwinConfig(**SWIN))
        elif kind == "swinv2":
            made = T.Swinv2Model(T.Swinv2Config(**SWIN))
        elif kind == "sam":
            made = T.SamVisionModel(T.SamVisionConfig(**SAM))
        elif kind == "videomae":
            made = T.VideoMAEModel(
                T.VideoMAEConfig(
                    image_size=8,
                    patch_size=4,
                    num_frames=6,
                    tubelet_size=2,
                    hidden_size=24,
                    num_hidden_layers=1,
                    num_attention_heads=2,
                    intermediate_size=20,
                )
            )
        else:
            made = T.TimesformerModel(
                T.TimesformerConfig(
                    image_size=12,
                    patch_size=4,
                    num_frames=5,
                    hidden_size=24,
                    num_hidden_layers=1,
                    num_attention_heads=2,
                    intermediate_size=20,
                )
            )
        tiny.spread(made)
    return made.eval()


def _random(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("kind", "size", "block", "before"),
    [
        ("swin", (32, 24), "SwinLayer", "layernorm_before"),
        ("swin", (26, 32), "SwinLayer", "layernorm_before"),  # 13 × 16 patches: windows with padding
        ("swinv2", (32, 24), "Swinv2Layer", ""),
        ("sam", (28, 28), "SamVisionLayer", "layer_norm1"),  # 7 × 7 patches in windows of 3 × 3
    ],
)
def test_windows_stand_at_their_places(kind: str, size: tuple[int, int], block: str, before: str) -> None:
    model = _model(kind)
    went_in: dict[str, torch.Tensor] = {}
    cut: dict[str, torch.Tensor] = {}
    hooks = []
    for path, module in model.named_modules():
        if type(module).__name__ == block:

            def note(_: Any, args: Any, output: Any, path: str = path) -> None:
                went_in[path] = output if before else args[0]

            inner = getattr(module, before) if before else module
            hooks.append(inner.register_forward_hook(note))
            attention = getattr(module, "attention", None) or module.attn

            def windows(_: Any, args: Any, kwargs: Any, path: str = path) -> None:
                cut[path] = args[0] if args else kwargs["hidden_states"]

            hooks.append(attention.register_forward_pre_hook(windows, with_kwargs=True))
    trace = attnscope.trace(model, None, inputs={"pixel_values": _random(1, 3, *size)})
    for hook in hooks:
        hook.remove()
    assert trace.verify()
    checked = 0
    for site in trace.sites:
        path = next(one for one in went_in if site.path.startswith(one + "."))
        tokens, windows_in, whole = trace.query_tokens(site), cut[path], went_in[path]
        assert len(tokens.grids) == 1, site.name
        (grid,) = tokens.grids
        vectors = windows_in.reshape(-1, windows_in.shape[-1])
        places = whole.reshape(grid.rows, grid.columns, -1)
        assert len(vectors) == len(tokens)
        for position, name in enumerate(tokens.strings):
            if name == "padding":
                assert tokens.special[position]
                continue
            row, column = map(int, re.findall(r"\d+", name))
            assert torch.equal(vectors[position], places[row, column])
            assert grid.tokens[row * grid.columns + column] == position
            checked += 1
        assert grid.places == list(range(grid.rows * grid.columns))
    assert checked >= 98
    shifted = [site for site in trace.sites if trace.query_tokens(site).strings[0] == "patch 2,2"]
    assert len(shifted) == (0 if kind == "sam" else 2)


def test_a_whole_stage_of_many_windows_is_what_the_model_gives() -> None:
    """36 × 36 patches in 81 windows: laid out at their places, with a bias of 16 × 16 a window instead of 1,296 × 1,296."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        model = T.SwinModel(
            T.SwinConfig(**{**SWIN, "image_size": 72, "depths": [2], "num_heads": [2]}, attn_implementation="eager")
        ).eval()
        tiny.spread(model)
    pixels = _random(1, 3, 72, 72)
    trace = attnscope.trace(model, None, inputs={"pixel_values": pixels})
    given = []
    for block in model.encoder.layers[0].blocks:
        block.attention.register_forward_hook(lambda _, __, output: given.append(output[1]))
    with torch.no_grad():
        model(pixels)
    assert trace.verify()
    for site, windows in zip(trace.sites[:2], given, strict=True):
        assert (site.queries, *windows.shape) == (1296, 81, 2, 16, 16)
        for head in range(2):
            weights = site.weights(head)
            own = weights.view(81, 16, 81, 16).diagonal(0, 0, 2).permute(2, 0, 1)
            assert torch.allclose(own, windows[:, head], atol=1e-6)
            assert torch.allclose(own.sum((1, 2)), torch.full((81,), 16.0)), "and no weight outside"
        assert trace.query_tokens(site).grids[0].places == list(range(1296))
        assert site.position_bias is not None
        assert site.position_bias.nbytes == 2 * 81 * 16 * 16 * 4


def test_of_too_many_windows_those_that_are_shown_stand_at_their_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("attnscope.capturing.parts._MOST", 1024)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        model = T.SwinModel(T.SwinConfig(**{**SWIN, "image_size": 80})).eval()
    trace = attnscope.trace(model, None, inputs={"pixel_values": _random(1, 3, 80, 80)})
    tokens = trace.query_tokens(trace.sites[1])
    (grid,) = tokens.grids
    assert (grid.rows, grid.columns, len(tokens)) == (40, 40, 64 * 16)
    assert [divmod(i, 40) for i, token in enumerate(grid.tokens) if 0 <= token < 16] == [
        (r, c) for r in range(2, 6) for c in range(2, 6)
    ]
    assert tokens.strings[0] == "patch 2,2"
    assert "</html>" in trace.show(layer=1, static=True).html


def test_the_mask_units_of_hiera_and_what_it_pools() -> None:
    """16 × 24 patches, 8 × 8 in a unit. The positions of the first stage are known by the vectors of places that went in; the
    queries of the next are the largest numbers of squares of 2 × 2."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        config = T.HieraConfig(image_size=[64, 96], embed_dim=8, num_heads=[1, 2, 2, 4], depths=[1, 2, 1, 1])
        model = T.HieraModel(config).eval()
        tiny.spread(model)
        with torch.no_grad():
            model.embeddings.patch_embeddings.projection.weight.zero_()
            model.embeddings.position_embeddings.normal_(0, 1)
    first, second = (model.encoder.stages[i].layers[0] for i in (0, 1))
    made: list[torch.Tensor] = []
    hook = second.attn.qkv.register_forward_hook(lambda _, __, output: made.append(output[0].unflatten(-1, (3, 2, 8))))
    trace = attnscope.trace(model, None, inputs={"pixel_values": _random(1, 3, 64, 96)})
    hook.remove()
    assert trace.verify()
    assert not any("numbered" in note for note in trace.notes)
    with torch.no_grad():
        places = model.embeddings.position_embeddings[0] + model.embeddings.patch_embeddings.projection.bias
        keys = first.attn.qkv(first.layernorm_before(places))[:, 8:16]
    whole, pooled = trace.sites[0], trace.sites[1]
    for position, name in enumerate(trace.key_tokens(whole).strings):
        row, column = map(int, re.findall(r"\d+", name))
        torch.testing.assert_close(whole.k[0, position], keys[row * 24 + column])
    grid = trace.key_tokens(pooled).grids[0]
    assert (grid.rows, grid.columns, pooled.queries, pooled.keys) == (16, 24, 96, 384)
    order = {tuple(vectors[1, 0].tolist()): vectors[0] for vectors in made[0]}
    fine = [order[tuple(pooled.k[0, position].tolist())] for position in grid.tokens]
    for query, name in enumerate(trace.query_tokens(pooled).strings):
        row, column = map(int, re.findall(r"\d+", name))
        square = [fine[(2 * row + i) * 24 + 2 * column + j] for i in range(2) for j in range(2)]
        torch.testing.assert_close(pooled.q[:, query] * pooled.scaling, torch.stack(square).amax(0) * 8**-0.5)


def _moved(model: Any, inputs: dict[str, Any], other: dict[str, Any], number: int) -> set[str]:
    """Names of the positions whose k in site `number` is another for other inputs."""
    one, two = (attnscope.trace(model, None, inputs=given) for given in (inputs, other))
    site = one.sites[number]
    apart = (site.k - two.sites[number].k).abs().amax((0, 2))
    tokens = one.key_tokens(site)
    return {tokens.strings[i] for i in (apart > 1e-5).nonzero().flatten().tolist()}


@pytest.mark.parametrize(("frame", "row", "column"), [(0, 0, 1), (3, 1, 0), (5, 1, 1)])
def test_the_tubes_of_videomae(frame: int, row: int, column: int) -> None:
    model, video = _model("videomae"), _random(1, 6, 3, 8, 8)
    other = video.clone()
    other[0, frame, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] += 1
    found = _moved(model, {"pixel_values": video}, {"pixel_values": other}, 0)
    assert found == {f"frame {frame // 2} patch {row},{column}"}


@pytest.mark.parametrize(("frame", "row", "column"), [(0, 0, 1), (3, 2, 0), (4, 1, 2)])
def test_the_frames_of_timesformer(frame: int, row: int, column: int) -> None:
    model, video = _model("timesformer"), _random(1, 5, 3, 12, 12)
    other = video.clone()
    other[0, frame, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] += 1
    given = {"pixel_values": video}, {"pixel_values": other}
    assert _moved(model, *given, 0) == {f"frame {frame} patch {row},{column}"}, "attention over time"
    everywhere = {f"frame {n} patch {row},{column}" for n in range(5)}
    assert _moved(model, *given, 1) == everywhere, "attention in each frame comes after that over time"
    trace = attnscope.trace(model, None, inputs=given[0])
    space = trace.query_tokens(trace.sites[1])
    assert not any("numbered" in note for note in trace.notes)
    assert space.strings[:2] == ("frame 0 [CLS]", "frame 0 patch 0,0")
    assert len(space.grids) == 5
    assert [space.strings[i] for i in space.grids[3].tokens] == [
        f"frame 3 patch {r},{c}" for r in range(3) for c in range(3)
    ]


TEXT = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 29,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "rope_parameters": {"rope_type": "default", "mrope_section": [4, 2, 2]},
}
QWEN2 = {"depth": 1, "embed_dim": 32, "hidden_size": 32, "num_heads": 2, "mlp_ratio": 2, "patch_size": 4}
QWEN2_5 = {
    "depth": 2,
    "hidden_size": 32,
    "intermediate_size": 31,
    "num_heads": 2,
    "patch_size": 4,
    "window_size": 16,
    "fullatt_block_indexes": [1],
    "out_hidden_size": 32,
}


@pytest.mark.parametrize("kind", ["qwen2", "qwen2.5"])
def test_the_squares_and_windows_of_qwens_tower(kind: str) -> None:
    """Two images of 6 × 8 and 4 × 4 patches, four of which become one token."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        if kind == "qwen2":
            model = T.Qwen2VLModel(T.Qwen2VLConfig(text_config=TEXT, vision_config=QWEN2, image_token_id=96)).eval()
        else:
            model = T.Qwen2_5_VLModel(
                T.Qwen2_5_VLConfig(text_config=TEXT, vision_config=QWEN2_5, image_token_id=96)
            ).eval()
    processor = T.Qwen2VLImageProcessor(patch_size=4, min_pixels=1, max_pixels=10**6)
    generator = torch.Generator().manual_seed(3)
    images = [
        torch.randint(0, 200, (3, *size), generator=generator, dtype=torch.uint8) for size in ((24, 32), (16, 16))
    ]
    ids = torch.tensor([[1, *(96,) * 12, 2, *(96,) * 4, 3]])

    def inputs(changed: list[torch.Tensor]) -> dict[str, Any]:
        made = processor(changed, return_tensors="pt")
        return {**made, "input_ids": ids, "mm_token_type_ids": (ids == 96).long()}

    trace = attnscope.trace(model, None, inputs=inputs(images))
    first = [n for n, site in enumerate(trace.sites) if (site.stack or "").startswith("vision") and site.layer == 0]
    assert len(first) == (2 if kind == "qwen2" else 5), "a call for each image, or for each window"
    named = [name for n in first for name in trace.query_tokens(trace.sites[n]).strings]
    assert len(set(named)) == len(named) == 48 + 16
    for image, row, column in [(0, 0, 1), (0, 1, 2), (0, 5, 7), (0, 3, 4), (1, 2, 1)]:
        other = [one.clone() for one in images]
        other[image][:, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] += 50
        found = set().union(*(_moved(model, inputs(images), inputs(other), n) for n in first))
        assert found == {f"image {image} patch {row},{column}"}
    assert trace.query_tokens(trace.sites[first[0]]).grids[0].rows == 6
    assert "</html>" in trace.show(stack=trace.sites[first[0]].stack, layer=0, static=True).html


def test_the_frames_of_qwens_videos() -> None:
    """A video of 2 × 4 × 6 patches beside an image of 2 × 4. The tower reads the image first, wherever it stands in the text."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        config = T.Qwen2VLConfig(text_config=TEXT, vision_config=QWEN2, image_token_id=96, video_token_id=95)
        model = T.Qwen2VLModel(config).eval()
    width = model.visual.patch_embed.proj.weight[0].numel()
    inputs = {
        "input_ids": torch.tensor([[1, *(95,) * 12, 2, *(96,) * 2, 3]]),
        "mm_token_type_ids": torch.tensor([[0, *(2,) * 12, 0, *(1,) * 2, 0]]),
        "pixel_values": _random(8, width),
        "image_grid_thw": torch.tensor([[1, 2, 4]]),
        "pixel_values_videos": _random(48, width, seed=2),
        "video_grid_thw": torch.tensor([[2, 4, 6]]),
    }
    trace = attnscope.trace(model, None, inputs=inputs)
    calls = [site for site in trace.sites if (site.stack or "").startswith("vision") and site.layer == 0]
    names = [name for site in calls for name in trace.query_tokens(site).strings]
    assert names[:5] == ["patch 0,0", "patch 0,1", "patch 1,0", "patch 1,1", "patch 0,2"]  # four become one token
    frames = {f"frame {frame} patch {row},{column}" for frame in range(2) for row in range(4) for column in range(6)}
    assert set(names[8:]) == frames
    for patch in (8 + 5, 8 + 24 + 11):  # one patch of the video, changed, moves the position of its name
        other = {**inputs, "pixel_values_videos": inputs["pixel_values_videos"].clone()}
        other["pixel_values_videos"][patch - 8] += 3
        at = [n for n, site in enumerate(trace.sites) if any(site is one for one in calls)]
        assert set().union(*(_moved(model, inputs, other, n) for n in at)) == {names[patch]}
    assert trace.tokens.shown[1:3] == ("frame 0 patch 0,0", "frame 0 patch 0,1")
    assert trace.tokens.shown[7] == "frame 1 patch 0,0"
    assert trace.tokens.shown[14:16] == ("patch 0,0", "patch 0,1")
    assert [(grid.rows, grid.columns) for grid in trace.tokens.grids] == [(1, 2), (2, 3), (2, 3)]
    assert "</html>" in trace.show(stack=[*trace.stacks][-1], static=True).html
