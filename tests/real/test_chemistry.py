"""A head whose job is known: layer 10, head 5 links each atom of the product to the atom of the reactants that it was.

Schwaller et al. 2021, Science Advances, eabe4166.
"""

import pytest
import torch

import attnscope
from real_models import chemistry

pytestmark = [pytest.mark.exactness, pytest.mark.slow]

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
