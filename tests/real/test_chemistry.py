"""A head whose job is known: layer 10, head 5 links each atom of the product to the atom of the reactants that it was.

Schwaller et al. 2021, Science Advances, eabe4166.
"""

import pytest
import torch

import attnscope
from real_models import REACTIONS, chemistry

pytestmark = [pytest.mark.exactness, pytest.mark.slow]


@pytest.mark.parametrize("reaction", REACTIONS)
def test_atoms_of_the_product_look_at_what_they_were(reaction: str) -> None:
    trace = attnscope.trace(*chemistry(), reaction)
    assert trace.verify()
    was = REACTIONS[reaction]
    strings = trace.tokens.strings
    reactants = [i for i in range(1, strings.index(">>")) if strings[i].isalpha()]
    weights = trace.site(10).weights()[:, list(was)][:, :, reactants]
    found = [reactants[key] for key in weights[5].argmax(-1).tolist()]
    assert dict(zip(was, found, strict=True)) == was
    spent = weights.sum(-1).mean(-1)  # on atoms of the reactants, by head
    assert float(spent[5]) > 4 * float(torch.cat([spent[:5], spent[6:]]).max())
