"""The weights of a whole batch against those of each text by itself."""

import pytest
import torch

from attnscope.head_roles import batches
from attnscope.head_roles.batches import read, reader_of, sites_of_text, trace_of, weights_of, weights_together
from attnscope.head_roles.texts import Text
from tiny_models import model as tiny


@pytest.mark.exactness
@pytest.mark.parametrize("kind", ["bert", "gpt_oss", "gemma2", "t5"])  # sinks, soft caps and windows, biases
def test_texts_of_a_batch_have_the_weights_of_each(kind, monkeypatch):
    draw = torch.Generator().manual_seed(3)
    texts = [
        Text({"input_ids": ids, "attention_mask": [1] * 13}, (True, *[False] * 12), "t")
        for ids in torch.randint(3, 12, (5, 13), generator=draw).tolist()
    ]
    model = reader_of(tiny(kind))
    with torch.no_grad():
        recorder = read(model, texts)
        sites = [sites_of_text(trace_of(recorder, texts, row), 13) for row in range(5)]
        found = weights_together(recorder, sites[0], 5)
        assert found is not None
        for row, alone in enumerate(sites):
            torch.testing.assert_close(found[row], weights_of(alone), atol=1e-6, rtol=1e-5)
        monkeypatch.setattr(batches, "WEIGHTS_AT_ONCE", found.numel() - 1)
        assert weights_together(recorder, sites[0], 5) is None
