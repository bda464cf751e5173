"""A model in use: whether masks hide what they should, and whether padding changes the outputs."""

import attnscope
from attnscope.doctor.findings.entry import Entry
from attnscope.doctor.findings.model_examples import tiny
from attnscope.doctor.findings.references import ATTENTION_INTERFACE, ATTENTION_MASK, POSITION_IDS


def mask_ignored():
    import transformers

    def mine(module, query, key, value, attention_mask, scaling, **options):
        weights = (query @ key.mT * scaling).softmax(-1)  # attention_mask is not used
        return (weights @ value).transpose(1, 2).contiguous(), weights

    transformers.AttentionInterface.register("mine", mine)
    model, tokenizer = tiny("bert")  # random weights
    model.set_attn_implementation("mine")
    return attnscope.check(model, tokenizer, ["the cat sat on a mat", "a dog ran"])


def mask_followed():
    import transformers

    def mine(module, query, key, value, attention_mask, scaling, **options):
        scores = query @ key.mT * scaling
        if attention_mask is not None:
            scores = scores + attention_mask
        weights = scores.softmax(-1)
        return (weights @ value).transpose(1, 2).contiguous(), weights

    transformers.AttentionInterface.register("mine", mine)
    transformers.AttentionMaskInterface.register("mine", transformers.masking_utils.eager_mask)
    model, tokenizer = tiny("bert")  # random weights
    model.set_attn_implementation("mine")
    return attnscope.check(model, tokenizer, ["the cat sat on a mat", "a dog ran"])


def padding_ignored():
    import transformers

    def mine(module, query, key, value, attention_mask, scaling, **options):
        weights = (query @ key.mT * scaling).softmax(-1)  # attention_mask is not used
        return (weights @ value).transpose(1, 2).contiguous(), weights

    transformers.AttentionInterface.register("mine", mine)
    model, tokenizer = tiny("bert")  # random weights
    model.set_attn_implementation("mine")
    return attnscope.check(model, tokenizer, "the cat sat on a mat")  # one text: no padding here


def padding_followed():
    model, tokenizer = tiny("bert")  # random weights
    model.set_attn_implementation("sdpa")
    return attnscope.check(model, tokenizer, "the cat sat on a mat")


def pads_attended():
    model, tokenizer = tiny("bert")  # random weights
    batch = tokenizer(["the cat sat on a mat", "a dog ran"], padding=True, return_tensors="pt")
    return attnscope.check(model, tokenizer, inputs={"input_ids": batch["input_ids"]})


def pads_masked():
    model, tokenizer = tiny("bert")  # random weights
    batch = tokenizer(["the cat sat on a mat", "a dog ran"], padding=True, return_tensors="pt")
    return attnscope.check(model, tokenizer, inputs=batch)


def padded_left():
    model, tokenizer = tiny("gpt2")  # random weights
    tokenizer.padding_side = "left"
    return attnscope.check(model, tokenizer, ["the cat sat on a mat", "a dog ran"])


def padded_left_with_positions():
    model, tokenizer = tiny("gpt2")  # random weights
    tokenizer.padding_side = "left"
    batch = tokenizer(["the cat sat on a mat", "a dog ran"], padding=True, return_tensors="pt")
    position_ids = (batch["attention_mask"].cumsum(-1) - 1).clamp(min=0)
    return attnscope.check(model, tokenizer, inputs={**batch, "position_ids": position_ids})


FOLLOW_MASK = (
    'model.set_attn_implementation("sdpa"); for an implementation of your own, add attention_mask to the scores, and have it '
    "made: transformers.AttentionMaskInterface.register(name, transformers.masking_utils.eager_mask)"
)

ENTRIES = (
    Entry(
        id="model-ignores-mask",
        severity="error",
        what="the attention implementation ignores the mask",
        title="the attention implementation {implementation} ignores the {mask}",
        why="The model attends to tokens that the mask hides: pads dilute every row, and a causal model sees what it should "
        "predict.",
        cure=FOLLOW_MASK,
        invariant="tokens that the mask hides do not change the output",
        place="the attention function",
        wrong=mask_ignored,
        right=mask_followed,
        reference=ATTENTION_INTERFACE,
    ),
    Entry(
        id="model-ignores-padding",
        severity="warning",
        what="the attention implementation ignores the padding mask, and this input has no padding",
        title="the attention implementation {implementation} ignores the {mask}; this input has no padding",
        why="This input is read correctly. In a padded batch the model attends to the pads, and every output changes.",
        cure=FOLLOW_MASK,
        invariant="tokens that the mask hides do not change the output",
        place="the attention function",
        wrong=padding_ignored,
        right=padding_followed,
        reference=ATTENTION_INTERFACE,
    ),
    Entry(
        id="pads-attended",
        severity="error",
        title="the model attends to pads",
        why="Every token gives a part of its attention to tokens that mean nothing.",
        evidence="{pads}; with the pads masked, the outputs of the text change by up to {change:.3g} standard deviations",
        cure='pass the attention_mask of the tokenizer: model(**tokenizer(texts, padding=True, return_tensors="pt")); or, where '
        "pads have a token of their own: attention_mask = (input_ids != tokenizer.pad_token_id).long()",
        invariant="the mask hides the pads",
        place="attention_mask",
        wrong=pads_attended,
        right=pads_masked,
        reference=ATTENTION_MASK,
    ),
    Entry(
        id="left-padding-positions",
        severity="error",
        row=20,
        title="left padding without position_ids moves the text to later positions",
        why="This model adds a learned vector for each absolute position, and counts positions from the first pad.",
        cure='tokenizer.padding_side = "right"; or model(**inputs, position_ids=(attention_mask.cumsum(-1) - 1).clamp(min=0)); '
        "generate() does that by itself",
        invariant="a row of a batch gives what it gives alone",
        place="position_ids",
        wrong=padded_left,
        right=padded_left_with_positions,
        reference=POSITION_IDS,
    ),
)
