"""What torch's fused paths return beside being fast: a captured pass returns the same, or the trace says that it does not."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import attnscope
from attnscope import CaptureError
from closeness import close

B, T, M = 3, 7, 10
LENGTHS = torch.tensor([4, 2, 7])
PADDING = torch.arange(T) >= LENGTHS[:, None]
HOLES = PADDING.clone()
HOLES[0, 1] = True


def layer(**options: Any) -> nn.TransformerEncoderLayer:
    return nn.TransformerEncoderLayer(M, 2, 13, batch_first=True, **options)


def plain_and_captured(model: nn.Module, **given: Any) -> tuple[Tensor, Tensor, Any]:
    model, x = model.eval(), torch.randn(B, T, M, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        plain = model(x, **given)
        with attnscope.capture(model) as recorder:
            captured = model(x, **given)
    return plain, captured, recorder


@pytest.mark.parametrize("norm", [None, nn.LayerNorm(M, bias=True)])
@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize(
    "mask",
    [PADDING, PADDING.flip(1), HOLES, torch.zeros(B, T).masked_fill(PADDING, -torch.inf)],
    ids=["right", "left", "holes", "float"],
)
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_padded_rows_of_an_encoder(mask: Tensor, check: bool, norm: nn.Module | None) -> None:
    if norm is not None:
        nn.init.normal_(norm.bias)  # type: ignore[arg-type]
    model = nn.TransformerEncoder(layer(), 2, norm=norm, mask_check=check)
    plain, captured, recorder = plain_and_captured(model, src_key_padding_mask=mask)
    assert close(captured, plain)
    assert recorder.trace(index=0).verify()
    with torch.no_grad():  # nothing is left behind
        assert torch.equal(
            model(torch.ones(B, T, M), src_key_padding_mask=mask), model(torch.ones(B, T, M), None, mask)
        )


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_with_gradients_no_row_is_dropped() -> None:
    model, x = nn.TransformerEncoder(layer(), 2).eval(), torch.randn(B, T, M)
    with attnscope.capture(model):
        captured = model(x, src_key_padding_mask=PADDING)
    assert close(captured.detach(), model(x, src_key_padding_mask=PADDING).detach())
    assert bool(captured[0, 5].any())


def test_a_text_without_keys_is_noted() -> None:
    nothing = PADDING.clone()
    nothing[1] = True
    plain, captured, recorder = plain_and_captured(layer(), src_key_padding_mask=nothing)
    assert bool(plain[1].isnan().all())
    assert not bool(captured[1].isnan().any())
    assert any("give NaN" in note for note in recorder.trace(index=1).notes)
    assert not any("give NaN" in note for note in recorder.trace(index=0).notes)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize(
    "model", [layer(), nn.TransformerEncoder(layer(), 1), nn.MultiheadAttention(M, 2, batch_first=True)]
)
def test_nested_tensors_are_refused(model: nn.Module) -> None:
    nested = torch.nested.nested_tensor([torch.randn(3, M), torch.randn(5, M)])
    given = [nested] * (3 if isinstance(model, nn.MultiheadAttention) else 1)
    with torch.no_grad(), attnscope.capture(model.eval()), pytest.raises(CaptureError, match="nested tensors"):
        model(*given)
