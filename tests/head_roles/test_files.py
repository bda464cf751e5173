"""attnscope roles asked about files: links, pictures, recordings."""

import json
import wave
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import attnscope
from attnscope.cli import main
from attnscope.errors import InputError, UnreadableFile
from attnscope.head_roles.files import corpus_of, links_of
from attnscope.models.media_files import read_sound
from tiny_models import model as tiny

HEARS = SimpleNamespace(main_input_name="input_features")
EARS = SimpleNamespace(feature_extractor=SimpleNamespace(sampling_rate=8000))


def wav(path, octets, width=2, channels=1, rate=8000):
    with wave.open(str(path), "wb") as file:
        file.setparams((channels, width, rate, 0, "NONE", ""))
        file.writeframes(octets)
    return path


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_samples_of_each_width(tmp_path, width):
    numbers = [-(2 ** (8 * width - 1)), 0, 2 ** (8 * width - 2), 2 ** (8 * width - 1) - 1]
    raw = b"".join(
        (n + 128).to_bytes(1, "little") if width == 1 else n.to_bytes(width, "little", signed=True) for n in numbers
    )
    found = read_sound(wav(tmp_path / "a.wav", raw, width), 8000)
    np.testing.assert_allclose(found, [-1, 0, 0.5, 1], atol=2 ** (2 - 8 * width) + 1e-7)


def test_channels_become_their_mean_and_another_rate_is_refused(tmp_path):
    pairs = np.array([[100, 300], [-50, 50], [0, 7]], "<i2")
    path = wav(tmp_path / "a.wav", pairs.tobytes(), channels=2)
    np.testing.assert_allclose(read_sound(path, 8000), pairs.mean(1) / 2**15, rtol=1e-6)
    with pytest.raises(InputError, match=r"has 8,000 samples a second, and the model reads 16,000.*ffmpeg"):
        read_sound(path, 16000)
    (tmp_path / "b.wav").write_bytes(b"RIFF")
    with pytest.raises(UnreadableFile, match="cannot be read as a WAV file"):
        read_sound(tmp_path / "b.wav", 8000)


def test_recordings_stand_beside_what_is_said(tmp_path):
    for name, said in (("two", "a second one"), ("one", "the first\n")):
        wav(tmp_path / f"{name}.wav", np.arange(5, dtype="<i2").tobytes())
        (tmp_path / f"{name}.txt").write_text(said)
    (_, first), (sound, second) = corpus_of(tmp_path, HEARS, EARS)
    assert (first, second, len(sound)) == (" the first", " a second one", 5)
    (tmp_path / "one.txt").unlink()
    with pytest.raises(UnreadableFile, match=r"one\.txt"):
        corpus_of(tmp_path, HEARS, EARS)
    with pytest.raises(InputError, match="recordings need the feature extractor"):
        corpus_of(tmp_path, HEARS, None)
    with pytest.raises(UnreadableFile, match="needs a folder"):
        corpus_of(tmp_path / "two.wav", HEARS, EARS)
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match=r"holds no file that ends in \.wav"):
        corpus_of(tmp_path / "none", HEARS, EARS)


def test_links_of_a_file_are_those_of_python(demo, tmp_path):
    file = tmp_path / "links.jsonl"
    rows = [
        ("the cat sat on a mat", {"agent: noun to verb": [[[4, 7], [8, 11]]], "near": [[[1 + 3, 7], [17, 20]]]})
    ] * 3
    file.write_text("\n".join(json.dumps({"text": text, "links": links}) for text, links in rows) + "\n\n")
    expected = [
        (text, {("agent", "noun", "verb"): [[[4, 7], [8, 11]]], "near": [[[4, 7], [17, 20]]]}) for text, _ in rows
    ]
    assert links_of(file) == expected
    done = CliRunner().invoke(main, ["roles", "-q", "--links", str(file), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == json.loads(attnscope.roles(*demo, links=expected).to_json())
    for written, said in (("{", "line 1: it is no JSON"), ('{"text": "a"}', "line 1: expected a line such as")):
        file.write_text(written)
        with pytest.raises(InputError, match=said):
            links_of(file)


def test_pictures_of_a_folder(tmp_path):
    from transformers import ViTImageProcessor

    model = tiny("vit")
    model.save_pretrained(tmp_path / "model")
    size = model.config.image_size
    processor = ViTImageProcessor(size={"height": size, "width": size})
    processor.save_pretrained(tmp_path / "model")
    (tmp_path / "album").mkdir()
    draw = np.random.default_rng(3)
    for number in range(4):
        pixels = draw.integers(0, 255, (41, 43, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "album" / f"{number}.png")
    done = CliRunner().invoke(
        main, ["roles", "-q", "--model", str(tmp_path / "model"), "--corpus", str(tmp_path / "album"), "--json"]
    )
    assert done.exit_code == 0, done.output
    assert {row["relation"] for row in json.loads(done.stdout)} == {"near patches", "[CLS]"}
