"""A batch through the model that uses the attention (`model=`): padding, positions, one mask for each text."""

from attnscope.doctor.findings.entry import Entry
from attnscope.doctor.findings.references import MULTIHEAD, PADDING

CODE = """
class Attention(nn.Module):
    def __init__(self, width=24, heads=4):
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x, allowed=None):
        q, k, v = (f(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for f in (self.q, self.k, self.v))
        return self.out(F.scaled_dot_product_attention(q, k, v, attn_mask=allowed).transpose(1, 2).flatten(2))

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.places, self.attention = nn.Embedding(60, 24), nn.Embedding(30, 24), Attention()

    def forward(self, ids, attention_mask):
        (batch, length), heads, mask = ids.shape, self.attention.heads, attention_mask.bool()
        positions = (mask.long().cumsum(-1) - 1).clamp(min=0)
        allowed = mask[:, None, None, :].expand(-1, heads, length, -1)
        return self.attention(self.words(ids) + self.places(positions), allowed)

model = Model()
"""
POSITIONS = "(mask.long().cumsum(-1) - 1).clamp(min=0)"
ALLOWED = "mask[:, None, None, :].expand(-1, heads, length, -1)"
COUNTED = "torch.arange(length)[None]"
TILED = "mask[:, None].expand(-1, length, -1).repeat(heads, 1, 1).view(batch, heads, length, length)"
CALL = "attnscope.check(model.attention, model=model)"

ENTRIES = (
    Entry(
        id="left-padding",
        severity="error",
        row=20,
        title="a text that is padded on the left comes out differently than alone",
        why="The code counts positions from the padding, so the same word has another position in a batch than on its own.",
        cure="count positions from the first real token: {how}; and mask the padding in every layer",
        evidence="the {tokens} real tokens differ from the same text alone by up to {far:.2g} standard deviations",
        invariant="a batch of one gives the same row as a batch",
        place="position ids of a padded batch",
        wrong=CODE.replace(POSITIONS, COUNTED),
        right=(COUNTED, POSITIONS),
        call=CALL,
        reference=PADDING,
    ),
    Entry(
        id="masks-of-a-batch",
        severity="error",
        row=23,
        title="two texts with different masks come out differently than each alone",
        why="Masks that are tiled over batch × heads in another order than the heads give a text its neighbour's mask; a mask "
        "of one axis too few broadcasts over the wrong one.",
        cure="mask.repeat_interleave(heads, dim=0), or mask[:, None, None, :] and broadcasting",
        evidence="differ from the same text alone: {texts} standard deviations",
        invariant="each text of a batch gets its own mask",
        place="where the mask is repeated or broadcast over heads",
        wrong=CODE.replace(ALLOWED, TILED),
        right=(TILED, ALLOWED),
        call=CALL,
        reference=MULTIHEAD,
    ),
)
