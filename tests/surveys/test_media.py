"""Folders of pictures and of recordings as a survey's corpus, against the traces of each file."""

import wave
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import attnscope
from attnscope.errors import InputError
from attnscope.statistics.compute import sums_of
from attnscope.statistics.thumbnails import pairs_at
from attnscope.statistics.totals import Totals
from attnscope.surveys.media import Media
from attnscope.surveys.shards import shards_of
from tiny_models import model as tiny, tokenizer


def compared(found, traces):
    """The table of heads against the sums of the traces."""
    totals: dict[int, Totals] = {}
    for trace in traces:
        for index, site in enumerate(trace.sites):
            totals.setdefault(site.layer, Totals()).merge(sums_of(site, pairs_at(trace, index), 8).totals)
    heads = found.to_frame()
    names = {*heads.columns} - {"layer", "head", "link", "link_mean", "queries", "entropy_normalised"}
    for layer, total in totals.items():
        rows, means = heads[heads.layer == layer].sort_values("head"), total.means()
        for name in names:
            assert rows[name].tolist() == pytest.approx(means[name], rel=1e-5, abs=1e-6), name
    return names


@pytest.fixture(scope="module")
def album(tmp_path_factory):
    from transformers import ViTImageProcessor

    folder, draw = tmp_path_factory.mktemp("album"), np.random.default_rng(3)
    (folder / "more").mkdir()
    for number in range(5):
        image = Image.fromarray(draw.integers(0, 255, (41, 43, 3)).astype(np.uint8))
        image.save(folder / ("more" if number % 2 else ".") / f"{number}.png")
    (folder / "bad.png").write_bytes(b"no picture")
    size = tiny("vit").config.image_size
    return folder, ViTImageProcessor(size={"height": size, "width": size})


@pytest.mark.exactness
def test_pictures_of_a_folder(album, tmp_path):
    folder, processor = album
    options = {"threads": 1, "quiet": True, "examples": 2, "shard": 2, "statistics": "entropy_normalised"}
    found = attnscope.survey(tiny("vit"), processor, folder, tmp_path / "out", **options)
    files = [folder / name for name in found.to_frame("documents").source]
    assert sorted(files) == sorted(path for path in folder.rglob("*.png") if path.name != "bad.png")
    names = compared(found, [attnscope.trace(tiny("vit"), processor, image=str(path)) for path in files])
    assert {"patch_distance", "special", "entropy"} <= names
    (aside,) = found.to_frame("set_aside").values.tolist()
    assert aside[0] == "bad.png"
    assert "could not be read" in aside[2]
    pages = [*(tmp_path / "out" / "examples").iterdir()]
    assert len(pages) == 2
    assert "patch 1,1" in pages[0].read_text() or "data:image" in pages[0].read_text()
    Image.new("RGB", (41, 43)).save(folder / "0.png")  # another picture under the same name
    with pytest.raises(InputError, match="holds other documents"):
        attnscope.survey(tiny("vit"), processor, folder, tmp_path / "out", resume=True, **options)


@pytest.mark.exactness
def test_recordings_of_a_folder(tmp_path):
    from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperModel

    torch.manual_seed(5)
    sizes: dict[str, Any] = {
        "d_model": 14,
        "encoder_layers": 2,
        "encoder_attention_heads": 7,
        "decoder_layers": 1,
        "decoder_attention_heads": 2,
    }
    config = WhisperConfig(
        **sizes, encoder_ffn_dim=17, decoder_ffn_dim=19, vocab_size=97, max_source_positions=50, num_mel_bins=11, pad_token_id=1,
        bos_token_id=2, eos_token_id=3, decoder_start_token_id=2,
    )  # fmt: skip
    model = WhisperModel(config).eval()
    extractor = WhisperFeatureExtractor(feature_size=11, chunk_length=1)
    (tmp_path / "sounds").mkdir()
    draw = np.random.default_rng(3)
    for number, samples in enumerate((9000, 12000, 7000)):
        with wave.open(str(tmp_path / "sounds" / f"{number}.wav"), "wb") as file:
            file.setparams((1, 2, 16000, 0, "NONE", ""))
            file.writeframes((draw.normal(0, 4000, samples)).astype("<i2").tobytes())
    processor = SimpleNamespace(
        feature_extractor=extractor, tokenizer=tokenizer(), to_json_string=extractor.to_json_string
    )
    found = attnscope.survey(model, processor, tmp_path / "sounds", tmp_path / "out", threads=1, quiet=True, examples=1)
    traces, sounds = [], []
    for number in range(3):
        with wave.open(str(tmp_path / "sounds" / f"{number}.wav")) as file:
            sound = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / 2**15
        sounds.append(sound)
        inputs = extractor(sound, sampling_rate=16000, return_tensors="pt")
        traces.append(attnscope.trace(model.get_encoder(), processor, inputs=dict(inputs)))
    assert "time_distance" in compared(found, traces)
    assert len([*(tmp_path / "out" / "examples").iterdir()]) == 1
    sounds.insert(1, np.zeros((2, 9), np.float32))
    held = attnscope.survey(model, processor, sounds, tmp_path / "held", threads=1, quiet=True, examples=0)
    assert held.to_frame().equals(found.to_frame())
    assert "one row of finite samples, got shape [2, 9]" in held.to_frame("set_aside").reason[0]


@pytest.mark.exactness
def test_pictures_and_waveforms_of_a_list(album, tmp_path):
    """The same numbers as from the files, whatever a picture is given as; a generator is read once, so its examples get no page."""
    folder, processor = album
    files = [folder / name for name in ("0.png", "more/1.png", "2.png")]
    options = {"threads": 1, "quiet": True, "examples": 2, "shard": 2}
    by_path = attnscope.survey(tiny("vit"), processor, files, tmp_path / "paths", **options)
    images = [Image.open(file) for file in files]
    mixed = [{"image": images[0]}, {"image": np.asarray(images[1])}, {"image": images[2]}, {"label": 3}, {"image": 5}]
    rows = ({**row} for row in mixed)
    held = attnscope.survey(tiny("vit"), processor, rows, tmp_path / "held", field="image", **options)
    assert held.to_frame().equals(by_path.to_frame())
    assert by_path.to_frame("documents").document.tolist() == ["given:0", "given:1", "given:2"]
    assert len([*(tmp_path / "paths" / "examples").iterdir()]) == 2
    assert not (tmp_path / "held" / "examples").exists()
    reasons = held.to_frame("set_aside").reason.tolist()
    assert ["nothing in 'image'" in reasons[0], "but int" in reasons[1]] == [True, True], reasons
    again = attnscope.survey(tiny("vit"), processor, mixed, tmp_path / "held", field="image", resume=True, **options)
    assert len([*(again.folder / "examples").iterdir()]) == 2


def test_a_shard_holds_few_large_pictures():
    pictures = Media([np.zeros((1024, 2048, 3), np.uint8)] * 31, "pixel_values", "text")
    assert [len(shard.documents) for shard in shards_of(pictures.documents(), 2048)] == [10, 10, 10, 1]


def test_what_is_no_folder_and_a_processor_that_is_missing(album, tmp_path):
    folder, processor = album
    with pytest.raises(InputError, match=r"of which none can be used; the first .*a text cannot be read: No such file"):
        attnscope.survey(tiny("vit"), processor, ["a text"], tmp_path / "aside", quiet=True)
    with pytest.raises(InputError, match="expected corpus as a folder of files"):
        attnscope.survey(tiny("vit"), processor, folder / "bad.png", tmp_path / "out")
    with pytest.raises(InputError, match="or a list of pictures, got ndarray"):
        attnscope.survey(tiny("vit"), processor, np.zeros((5, 41, 43, 3)), tmp_path / "out")
    with pytest.raises(InputError, match="needs its processor as the second argument"):
        attnscope.survey(tiny("vit"), None, folder, tmp_path / "out")
    with pytest.raises(InputError, match=r"holds no file that ends in \.png"):
        attnscope.survey(tiny("vit"), processor, tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
