"""A tiny GPT-2 whose heads are known, because their weights are written by hand: `python tests/helpers/known_heads.py` writes
it to tests/head_roles/known_heads (1.2 MB) with its tokenizer. It is transformers' own GPT2LMHeadModel, run by its code.

A position of its residual stream holds what it is made of, each part with the same length everywhere, so that a layer norm
is one factor: a code of its word, its class (noun, verb or other), its place as angles (turning them by a step gives the
place beside it), and, after layer 0, the code of the word before it. The parts lie in directions whose numbers add up to 0.
"""

import random
from pathlib import Path

import torch
from torch import Tensor

FOLDER = Path(__file__).parents[1] / "head_roles" / "known_heads"
NOUNS = (
    "teacher dog painter river letter farmer window soldier garden bird doctor bridge child engine baker sailor horse judge "
    "tailor cat pilot nurse singer miner clerk poet guard queen king monk smith crow wolf fox bear deer goat sheep hen duck"
).split()
VERBS = (
    "watched found carried followed painted helped built heard moved cleaned saw met liked feared drew pulled pushed chased "
    "called left taught fed held hid sold"
).split()
ADJECTIVES = (
    "small old quiet green heavy young bright tall cold busy red blue thin wise brave calm dry early fast grey".split()
)
ADVERBS = "quickly slowly often never today gladly rarely soon twice then".split()
DETERMINERS = "the a every this that some each one".split()
WORDS = ["<unk>", *NOUNS, *VERBS, *ADJECTIVES, *ADVERBS, *DETERMINERS]

# What each head was made to do, in the words of the table. The two of grammar know words and no places, so that they follow a word that was moved.
# L1H3 gives every key the same; L1H4 is of random numbers.
KNOWN = {
    (0, 0): ("previous token",),
    (0, 1): ("two tokens back",),
    (0, 2): ("itself",),
    (0, 3): ("first token",),
    (0, 4): ("earlier copy",),
    (1, 0): ("after an earlier copy",),
    (1, 1): ("obj, dependent to head", "content"),
    (1, 2): ("nsubj, head to dependent", "content"),
}

HEADS, SIZE, POSITIONS = 5, 36, 128
WIDTH = HEADS * SIZE
CODE = 20  # numbers of a word's code
TURNS = (19, 29, 32, 39, 43, 44, 60, 62)  # of each angle over all positions: no two places look alike
WORD, CLASS = slice(0, CODE), slice(CODE, CODE + 3)
PLACE = slice(CODE + 3, CODE + 3 + 2 * len(TURNS))
BEFORE = slice(PLACE.stop, PLACE.stop + CODE)
SURE = 24.0  # how far a right key's score is above the others, about


def codes() -> Tensor:
    """Of each word one direction, as far from each other as some steps of descent bring them: [words, CODE]."""
    found = torch.randn(len(WORDS), CODE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for _ in range(300):
        found = (found / found.norm(dim=1, keepdim=True)).requires_grad_()
        near = (found @ found.T).fill_diagonal_(-1)
        (slope,) = torch.autograd.grad((20 * near).logsumexp((0, 1)), found)
        found = (found - 0.5 * slope).detach()
    return found / found.norm(dim=1, keepdim=True)


def places() -> Tensor:
    """Of each position its angles: [POSITIONS, 2 · angles], of length 1."""
    angles = 2 * torch.pi * torch.arange(POSITIONS, dtype=torch.float64)[:, None] * torch.tensor(TURNS) / POSITIONS
    return torch.stack([angles.cos(), angles.sin()], -1).flatten(1) / len(TURNS) ** 0.5


def step(back: int) -> Tensor:
    """The matrix that turns the angles of a place into those of the place `back` before it: place @ step."""
    turned = torch.zeros(2 * len(TURNS), 2 * len(TURNS), dtype=torch.float64)
    for number, turns in enumerate(TURNS):
        angle = torch.tensor(-2 * torch.pi * turns * back / POSITIONS, dtype=torch.float64)
        here = slice(2 * number, 2 * number + 2)
        turned[here, here] = torch.stack(
            [torch.stack([angle.cos(), angle.sin()]), torch.stack([-angle.sin(), angle.cos()])]
        )
    return turned


class Head:
    """The projections of one head, from the parts of the residual stream: [parts, SIZE]."""

    def __init__(self) -> None:
        self.query, self.key, self.value = (torch.zeros(BEFORE.stop, SIZE, dtype=torch.float64) for _ in range(3))
        self.free = 0

    def match(self, of_query: slice, of_key: slice, by: Tensor, sure: float = SURE) -> "Head":
        """Adds sure · (query part @ by) · key part to the scores."""
        here = slice(self.free, self.free + by.shape[1])
        self.query[of_query, here] = sure * by
        self.key[of_key, here] = torch.eye(by.shape[1], dtype=torch.float64)
        self.free = here.stop
        return self


def layers() -> list[list[Head]]:
    """The heads of both layers, as KNOWN says."""
    word, place, always = torch.eye(CODE), torch.eye(2 * len(TURNS)), torch.ones(3, 1)
    noun, verb = torch.eye(3)[0], torch.eye(3)[1]
    word, place, always, noun, verb = (one.double() for one in (word, place, always, noun, verb))

    def linked(query: Tensor, key: Tensor) -> Head:
        """From one class of words to another. Other queries look at a word that a mild random score names."""
        head, chance = Head().match(CLASS, CLASS, torch.outer(query, key)), torch.Generator().manual_seed(4)
        return head.match(WORD, WORD, torch.randn(CODE, CODE, generator=chance, dtype=torch.float64) / CODE**0.5, 2.0)

    steps = [Head().match(PLACE, PLACE, step(back), 4 * SURE) for back in (1, 2, 0)]
    steps[0].value[WORD, :CODE] = word  # written to BEFORE
    first = Head().match(CLASS, PLACE, always @ places()[:1], 4 * SURE)
    copy = (
        Head().match(WORD, WORD, word, 10 * SURE).match(PLACE, PLACE, -place, 10 * SURE)
    )  # another place than its own
    after = Head().match(WORD, BEFORE, word, 4 * SURE)
    noise, chance = Head(), torch.Generator().manual_seed(5)
    for part in (noise.query, noise.key):
        part.copy_(torch.randn(part.shape, generator=chance, dtype=torch.float64) / 3)
        part[CLASS] = 0.0
    return [[*steps, first, copy], [after, linked(noun, verb), linked(verb, noun), Head(), noise]]


def model():
    """The model, in eval mode."""
    import transformers

    config = transformers.GPT2Config(
        vocab_size=len(WORDS), n_positions=POSITIONS, n_embd=WIDTH, n_layer=2, n_head=HEADS, n_inner=1,
        bos_token_id=None, eos_token_id=None, layer_norm_epsilon=1e-12,
    )  # fmt: skip
    made = transformers.GPT2LMHeadModel(config).eval()
    for name, parameter in made.named_parameters():
        torch.nn.init.constant_(parameter, 1.0 if name.endswith(("ln_1.weight", "ln_2.weight", "ln_f.weight")) else 0.0)
    drawn = torch.randn(WIDTH, WIDTH, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    drawn[:, 0] = 1.0
    basis = torch.linalg.qr(drawn)[0][:, 1 : 1 + BEFORE.stop].T  # [parts, WIDTH]: numbers that add up to 0
    parts = torch.zeros(len(WORDS), BEFORE.stop, dtype=torch.float64)
    parts[:, WORD] = codes()
    kinds = [0 if word in NOUNS else 1 if word in VERBS else 2 for word in WORDS]
    parts[torch.arange(len(WORDS)), CLASS.start + torch.tensor(kinds)] = 1.0
    with torch.no_grad():
        made.transformer.wte.weight.copy_(parts @ basis)
        made.transformer.wpe.weight.copy_(places() @ basis[PLACE])
        for block, heads, length in zip(made.transformer.h, layers(), (3.0, 4.0), strict=True):
            # a layer norm divides by the root of the mean square, length / WIDTH; attention by the root of SIZE
            scale = (length / WIDTH) ** 0.5
            joined = [torch.cat([getattr(head, name) for head in heads], 1) for name in ("query", "key", "value")]
            joined[0] = joined[0] * SIZE**0.5
            block.attn.c_attn.weight.copy_(basis.T @ torch.cat(joined, 1) * scale)
        made.transformer.h[0].attn.c_proj.weight[:CODE].copy_(basis[BEFORE])
    return made


def tokenizer():
    """Words parted by spaces; no special token but <unk>."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=raw, unk_token="<unk>", model_input_names=["input_ids", "attention_mask"]
    )


def treebank(count: int = 400, seed: int = 8) -> str:
    """CoNLL-U of the toy grammar: (adverb) determiner adjective* noun (adverb) verb (adverb) determiner adjective*
    noun (adverb)."""
    draw, lines = random.Random(seed), []
    for number in range(count):
        if number % 20 == 0:
            lines.append(f"# newdoc id = {number // 20}")
        words: list[tuple[str, str]] = []

        def phrase(role: str, words: list[tuple[str, str]] = words) -> None:
            words.append((draw.choice(DETERMINERS), f"det {role}"))
            words.extend((draw.choice(ADJECTIVES), f"amod {role}") for _ in range(draw.choice([0, 0, 1, 2])))
            words.append((draw.choice(NOUNS), role))

        def perhaps(words: list[tuple[str, str]] = words) -> None:
            if draw.random() < 0.4:
                words.append((draw.choice(ADVERBS), "advmod"))

        perhaps()
        phrase("nsubj")
        perhaps()
        words.append((draw.choice(VERBS), "root"))
        perhaps()
        phrase("obj")
        perhaps()
        at = {role: place for place, (_, role) in enumerate(words, 1)}
        for place, (form, role) in enumerate(words, 1):
            relation, _, noun = role.partition(" ")
            head = 0 if role == "root" else at[noun or "root"]
            lines.append(f"{place}\t{form}\t_\t_\t_\t_\t{head}\t{relation}\t_\t_")
        lines.append("")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    model().save_pretrained(FOLDER)
    tokenizer().save_pretrained(FOLDER)
