"""The image that was read, in figures: the query outlined, and the weight of every patch over it."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from attnscope.render.figures.draw import figure
from made_traces import made_trace, pictured

QUERY = 9  # patch 1,2


def drawn(level: str, **options) -> Figure:
    trace = pictured()
    return figure(trace, trace.show(level=level, layer=0, head=1, query=QUERY, **options).state, 3.4)


def parts(made: Figure) -> dict:
    return {axes.get_label(): axes for axes in made.axes[0].child_axes}


@pytest.mark.parametrize(("level", "average"), [("head", "none"), ("head", "heads"), ("neuron", "none")])
def test_the_weights_over_the_image_are_those_of_the_query(level: str, average: str) -> None:
    found = parts(drawn(level, average=average))
    picture, ink = found["weights on the image"].images
    weights = pictured().sites[0].weights()[:, QUERY]
    expected = (weights.mean(0) if average == "heads" else weights[1])[2:].numpy().reshape(3, 5)
    end = expected[np.unravel_index(ink.get_array()[..., 3].argmax(), (3, 5))] / ink.get_array()[..., 3].max()
    np.testing.assert_allclose(ink.get_array()[..., 3] * end, expected, atol=1e-5)
    assert any(end == pytest.approx(one, rel=1e-3) for one in (0.1, 0.2, 1)), "the one scale of weights"
    assert picture.get_array().shape == (21, 35, 3)
    boxes = [patch for patch in found["image"].patches if patch.get_label() == "query"]
    assert {box.get_xy() for box in boxes} == {(2, 1)}


def test_other_levels_and_texts_have_no_image() -> None:
    assert "image" not in parts(drawn("matrix"))
    plain = made_trace()
    assert "image" not in parts(figure(plain, plain.show(level="head").state, 3.4))
