"""Inputs for a small model: what its forward needs, found by asking it. Where it refuses, its message says what it misses."""

import inspect
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

TEXT, TARGET = 11, 7  # tokens
SOUND = 4000  # samples
_ATTEMPTS = 10
_PATCHED = frozenset({"image_grid_thw", "grid_thw"})
_ROWS = frozenset({"spatial_shapes", "pixel_position_ids"})  # of patches in a row, a batch of them
_IMAGES = ("pixel_values", "pixel_values_videos", "video", "images")
_IMAGE_TOKENS = (
    "image_token_id image_token_index image_token media_token_id audio_token_id audio_token_index audio_token".split()
)
_PARTS = (
    "vision_config audio_config speech_config video_config backbone_config encoder_config encoder text_config".split()
)


class NoInputs(Exception):
    """A model that no inputs were found for; the message is the model's first."""


def feed(model: Any) -> dict[str, Any]:
    """Inputs with which the model runs, an image or a sound beside the text where it takes both. Raises NoInputs."""
    names = inspect.signature(model.forward).parameters
    wanted = _first_wanted(model, names)
    attempts = [wanted]
    if "input_ids" in wanted:
        beside = [name for name in ("pixel_values", "input_features") if name in names and name not in wanted]
        attempts = [[*wanted, name] for name in beside] + attempts
        if "protein_input_ids" in names:
            attempts = [[*wanted, "protein_input_ids", "protein_attention_mask"], *attempts]
    said = ""
    for attempt in attempts:
        try:
            return _Asked(model, names).answer(attempt)
        except NoInputs as error:
            said = said or str(error)
    raise NoInputs(said)


def _first_wanted(model: Any, names: Mapping[str, inspect.Parameter]) -> list[str]:
    """Parameters without a default, the model's main input, and what a decoder reads."""
    open_ended = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    wanted = [name for name, one in names.items() if one.default is one.empty and one.kind not in open_ended]
    together = (
        [name for name in names if name.startswith(("future_", "past_"))] if "past_time_features" in names else []
    )
    if "returns_to_go" in names:
        together = ["states", "actions", "rewards", "returns_to_go", "timesteps"]
    wanted += [name for name in together if name not in wanted and name != "past_key_values"]
    main = str(getattr(model, "main_input_name", ""))
    if main in names and main not in wanted:
        wanted.append(main)
    if not {"input_ids", *_IMAGES, "input_features", "input_values"}.intersection(wanted):
        wanted += [name for name in ("input_ids", "pixel_values") if name in names][:1]
    if "decoder_input_ids" in names and (getattr(model.config, "is_encoder_decoder", False) or main != "input_ids"):
        wanted.append("decoder_input_ids")
    if "attention_mask" in names and "input_ids" in wanted:
        wanted.append("attention_mask")
    return [*dict.fromkeys(wanted)]


class _Asked:
    """One conversation with a model. `placed`: how many tokens of its text stand for an image. `shape`: which of several
    shapes an input has. `stretch`: how many times wider than the configuration says the vectors of a sound or a patch are."""

    def __init__(self, model: Any, names: Mapping[str, inspect.Parameter]) -> None:
        self.model, self.names = model, names
        self.placed, self.shape, self._counts = 0, 0, set[int]()
        self.stretch, self._asked = 1, set[str]()

    def answer(self, wanted: Sequence[str]) -> dict[str, Any]:
        wanted, said = [*wanted], ""
        for _ in range(_ATTEMPTS):
            inputs = {name: x for name in wanted if (x := self.tensor(name)) is not None}
            try:
                with torch.no_grad():
                    self.model(**inputs)
                return inputs
            except Exception as error:  # of the model's own code, which raises what it likes
                message = f"{type(error).__name__}: {error}"
            said = said or message.splitlines()[0][:200]
            if not self._learns(message, wanted):
                break
        raise NoInputs(said)

    def _learns(self, message: str, wanted: list[str]) -> bool:
        """Change what is given by what the message says; False where nothing is left to change."""
        if match := re.search(r"tokens:?\s*(\d+).*?features:?\s*(?:torch.Size\(\[)?(\d+)", message, re.S):
            told, width = int(match[2]), self.number("hidden_size", default=32)
            for count in (told, told // width):  # some count tokens, some the numbers in them
                if count and count not in self._counts:
                    self._counts.add(count)
                    self.placed = count
                    return True
        places = re.search(r"value tensor of shape \[(\d+), \d+\] cannot be broadcast to .* shape \[0, ", message)
        if places is not None:  # of the vectors of an image, in a mask of ones
            self.placed = int(places[1])
            return True
        if self._stretches(message):
            return True
        if "pixel_values" in wanted and "image_grid_thw" in self.names and "image_grid_thw" not in wanted:
            wanted.append("image_grid_thw")
            return True
        named = [n for n in self.names if n not in wanted and re.search(rf"\b{re.escape(n)}\b", message)]
        named = [n for n in named if not n.endswith(("inputs_embeds", "attention_mask"))]
        if "pixel_values" in wanted:  # an image is given, and no video
            named = [n for n in named if "video" not in n]
        if named:
            wanted += named[:2]
            return True
        # What is missing without a name.
        unsaid = "input_ids decoder_input_values image_attention_mask image_embeds_position_mask".split()
        unsaid += "bbox grid_thw target_sizes spatial_shapes pixel_attention_mask input_features_mask".split()
        if "NoneType" in message and (missing := [n for n in unsaid if n in self.names and n not in wanted]):
            wanted.append(missing[0])
            return True
        self.shape += 1
        return self.shape < 4

    def _stretches(self, message: str) -> bool:
        """Vectors stacked before the first layer, which the message of a product that does not fit tells of."""
        match = re.search(r"shapes cannot be multiplied \(\d+x(\d+) and (\d+)x\d+\)", message)
        if match is None or match[0] in self._asked or (self.shape == 0 and "input_features" in self.names):
            return False
        self._asked.add(match[0])
        times, left = divmod(int(match[2]), int(match[1]))
        if left or times < 2:
            return False
        self.stretch *= times
        return True

    # --- what the configuration says ------------------------------------------------------------------------------

    def said(self, *names: str, default: Any = None) -> Any:
        """The first of these names that the configuration, or a part of it, has."""
        parts = [self.model.config]
        for part in parts[:12]:
            parts += [one for name in _PARTS if hasattr(one := getattr(part, name, None), "to_dict")]
        for part in parts:
            for name in names:
                if getattr(part, name, None) is not None:
                    return getattr(part, name)
        return default

    def number(self, *names: str, default: int) -> int:
        value = self.said(*names, default=default)
        return value if isinstance(value, int) else default

    # --- tensors --------------------------------------------------------------------------------------------------

    def tensor(self, name: str) -> Any:
        """What a forward's parameter of this name takes; None where nobody knows."""
        width = self.number("hidden_size", "d_model", "embed_dim", default=32)
        if name in _IMAGES or (name == "hidden_states" and _PATCHED.intersection(self.names)):
            return self._pixels()
        if name in ("input_ids", "decoder_input_ids", "text_input_ids", "protein_input_ids"):
            return self._ids(name)
        if name == "attention_mask":
            text = getattr(self.model, "main_input_name", "") == "input_ids"
            return torch.ones(1, TEXT + self.placed, dtype=torch.long) if text else None
        if name in ("input_features", "input_values"):
            return self._sound(name)
        made: dict[str, Any] = {
            "image_grid_thw": lambda: torch.tensor([[1, 4, 4]]),
            "grid_thw": lambda: torch.tensor([[1, 4, 4]]),
            "image_sizes": lambda: torch.tensor([[32, 32]]),
            "spatial_shapes": lambda: torch.tensor([[4, 4]]),
            "target_sizes": lambda: torch.tensor([[4, 4]]),
            "merge_sizes": lambda: torch.tensor([1]),
            "image_attention_mask": lambda: torch.ones(1, TEXT, 1, dtype=torch.long),
            "audio_mel": lambda: self._sound("input_features"),
            "bbox": lambda: torch.randint(0, 50, (1, TEXT, 4)).sort(-1).values,
            "inputs": lambda: torch.randn(1, TEXT, width),
            "hidden_states": lambda: torch.randn(1, TEXT, width),
            "mm_token_type_ids": lambda: self._kinds(),
            "flattened_patches": lambda: torch.randn(
                1, 9, 2 + self.number("patch_embed_hidden_size", default=3 * self.number("patch_size", default=8) ** 2)
            ),
            "query_embeds": lambda: torch.randn(1, TARGET, width),
            "qformer_input_ids": lambda: self._ids(name),
            "decoder_input_values": lambda: torch.randn(1, TARGET, width),
            "prompt_pixel_values": lambda: self._pixels(),
            "prompt_masks": lambda: self._pixels(),
            "visual_feats": lambda: torch.randn(1, 5, self.number("visual_feat_dim", default=2048)),
            "protein_attention_mask": lambda: torch.ones(1, TEXT, dtype=torch.long),
            "visual_pos": lambda: torch.rand(1, 5, 4),
            "image_embeds_position_mask": lambda: self._kinds(),
            **self._steps(),
        }
        return made[name]() if name in made else self._by_name(name, width)

    def _by_name(self, name: str, width: int) -> Any:
        """By what the end of a name says."""
        if name.endswith("_input_ids"):
            return self._ids(name)
        if name == "task_inputs":
            return torch.ones(1, self.number("task_seq_len", default=TEXT))
        if name.endswith(("_features_mask", "mel_mask")):
            return torch.ones(1, 2 * self.number("max_source_positions", default=32), dtype=torch.long)
        if name.endswith("_attention_mask"):
            return torch.ones(1, 16 if name.startswith("pixel") else TEXT, dtype=torch.long)
        if name == "pixel_position_ids":
            return torch.cartesian_prod(torch.arange(4), torch.arange(4))[None]
        asked = self.names[name].default is inspect.Parameter.empty or name == "encoder_hidden_states"
        if asked and name.endswith(("_embeds", "hidden_states", "latents")):
            return torch.randn(1, TEXT, width)
        return None

    def _steps(self) -> dict[str, Any]:
        """A series: of numbers, or of what an agent saw and did."""
        steps, channels = self.number("context_length", default=8), self.number("num_input_channels", default=1)
        lags = self.said("lags_sequence", default=[0])
        series = steps + max(lags) if "past_time_features" in self.names else steps
        alone = "past_time_features" in self.names and self.number("input_size", default=1) == 1
        times = self.number("num_time_features", default=0) + 0
        future = self.number("prediction_length", default=4)
        state, action = self.number("state_dim", default=17), self.number("act_dim", default=4)
        return {
            "past_values": lambda: torch.randn((1, series) if alone else (1, series, channels)),
            "past_time_features": lambda: torch.randn(1, series, times),
            "past_values_padding": lambda: torch.zeros(1, series),
            "freq": lambda: torch.zeros(1, 1, dtype=torch.long),
            "past_observed_mask": lambda: torch.ones(1, series) if alone else None,
            "future_values": lambda: torch.randn(1, future),
            "future_time_features": lambda: torch.randn(1, future, times),
            "states": lambda: torch.randn(1, 5, state),
            "actions": lambda: torch.randn(1, 5, action),
            "rewards": lambda: torch.randn(1, 5, 1),
            "returns_to_go": lambda: torch.randn(1, 5, 1),
            "timesteps": lambda: torch.arange(5)[None],
        }

    def _ids(self, name: str) -> Tensor:
        vocabulary = min(200, self.number("vocab_size", default=100))
        high = max(4, vocabulary - 60 if vocabulary > 100 else vocabulary)
        made = torch.Generator().manual_seed(0)
        ids = torch.randint(3, high, (1, TARGET if name.startswith("decoder") else TEXT), generator=made)
        image = self.said(*_IMAGE_TOKENS)
        if self.placed and name == "input_ids":
            fill = image if isinstance(image, int) else 3
            ids = torch.cat([ids[:, :2], torch.full((1, self.placed), fill), ids[:, 2:]], dim=1)
        return ids

    def _kinds(self) -> Tensor:
        """1 where an image's token stands."""
        kinds = torch.zeros(1, TEXT + self.placed, dtype=torch.long)
        kinds[:, 2 : 2 + self.placed] = 1
        return kinds

    def _pixels(self) -> Tensor:
        side, channels = (
            self.said("image_size", "img_size", "input_size", default=64),
            self.number("num_channels", "in_channels", default=3),
        )
        side = side.get("height", 32) if isinstance(side, Mapping) else side
        rows, columns = (side, side) if isinstance(side, int) else (side[-2 if len(side) > 1 else 0], side[-1])
        if _PATCHED.intersection(self.names):  # patches in a row, as Qwen2-VL's processor makes them
            patch = self.number("patch_size", default=8)
            vector = channels * self.number("temporal_patch_size", default=1) * patch * patch
            return torch.randn(16, self.stretch * vector)
        if _ROWS.intersection(self.names):
            return torch.randn(1, 16, channels * self.number("patch_size", default=8) ** 2)
        frames = self.said("num_frames")
        if isinstance(frames, int) and self.shape == 0:
            return torch.randn(1, frames, channels, rows, columns)
        shapes = [
            (1, channels, rows, columns),
            (1, 1, channels, rows, columns),
            (1, channels, 64, 64),
            (1, 2, channels, rows, columns),
        ]
        return torch.randn(*shapes[min(self.shape, 3)])

    def _sound(self, name: str) -> Tensor:
        bands = self.number(
            "feature_projection_input_dim",
            "num_mel_bins",
            "input_feat_per_channel",
            "feature_size",
            "input_dim",
            default=80,
        )
        bands *= self.stretch
        if name == "input_values" and self.shape == 3:  # vectors, of a model without the layers that make them
            return torch.randn(1, TEXT, self.number("hidden_size", default=32))
        if name == "input_values":
            if self.said("num_mel_bins") is not None and self.shape == 0:  # a spectrogram
                return torch.randn(1, self.number("max_length", default=64), bands)
            return torch.randn(1, SOUND) if self.shape % 2 == 0 else torch.randn(1, 1, SOUND)
        steps = 2 * self.number("max_source_positions", default=32)
        return torch.randn(1, bands, steps) if self.shape % 2 == 0 else torch.randn(1, steps, bands)
