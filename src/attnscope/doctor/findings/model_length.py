"""A model in use: texts longer than the model or the tokenizer allows."""

import attnscope
from attnscope.doctor.findings.entry import Entry
from attnscope.doctor.findings.model_examples import tiny
from attnscope.doctor.findings.references import EXTRAPOLATION, PADDING


def beyond_window():
    model, tokenizer = tiny("gpt2")  # 61 positions
    return attnscope.check(model, tokenizer, "cat " * 67)


def within_window():
    model, tokenizer = tiny("gpt2")  # random weights
    inputs = tokenizer("cat " * 67, truncation=True, max_length=61, return_tensors="pt")
    return attnscope.check(model, tokenizer, inputs=inputs)


def cut():
    model, tokenizer = tiny("bert")  # random weights
    text = "the cat sat on a mat of air in a plane to a dog"
    inputs = tokenizer(text, truncation=True, max_length=11, return_tensors="pt")
    return attnscope.check(model, tokenizer, text, inputs=inputs)


def whole():
    model, tokenizer = tiny("bert")  # random weights
    text = "the cat sat on a mat of air in a plane to a dog"
    inputs = tokenizer(text, return_tensors="pt")
    return attnscope.check(model, tokenizer, text, inputs=inputs)


def beyond_tokenizer():
    model, tokenizer = tiny("bert")  # random weights
    tokenizer.model_max_length = 11
    return attnscope.check(model, tokenizer, "the cat sat on a mat of air in a plane to a dog")


def within_tokenizer():
    model, tokenizer = tiny("bert")  # random weights
    tokenizer.model_max_length = 11
    return attnscope.check(model, tokenizer, ["the cat sat on a mat", "of air in a plane to a dog"])


ENTRIES = (
    Entry(
        id="beyond-window",
        severity="error",
        what="the text has more tokens than the model has positions, or was made for",
        title="the text has {count} tokens, and the model was made for {limit}",
        why="The model learned no position beyond: a table of positions raises (on a GPU for every later call too), and rotary "
        "angles give scores that the model never saw in training.",
        cure="split the text, or cut it: "
        'tokenizer(text, truncation=True, max_length={limit}, return_tensors="pt"); in attnscope: trace(…, truncate=True)',
        invariant="every token has a position that the model learned",
        place="the length of the text",
        wrong=beyond_window,
        right=within_window,
        reference=EXTRAPOLATION,
    ),
    Entry(
        id="text-cut",
        severity="error",
        what="the inputs hold only a part of the text",
        title="the inputs hold {seen} of the text's {whole} tokens",
        why="No token can attend to what was cut off.",
        cure='tokenizer(text, return_tensors="pt", truncation=False), or split the text into parts',
        invariant="the model reads the whole text",
        place="the end of the text",
        wrong=cut,
        right=whole,
        reference=PADDING,
    ),
    Entry(
        id="text-beyond-tokenizer",
        severity="warning",
        what="the text is longer than the tokenizer allows; whatever truncates will cut it (pipelines do)",
        title="the text has {count} tokens; the tokenizer cuts at {limit} where it truncates (pipelines do)",
        why="This check read the whole text. Where it is cut, the rest is lost without a message.",
        evidence="tokenizer.model_max_length = {limit}; {beyond} tokens lie beyond, from {first} on",
        cure="split the text into parts of at most {limit} tokens; where the model reads more: tokenizer.model_max_length = n",
        invariant="the model reads the whole text",
        place="the end of the text",
        wrong=beyond_tokenizer,
        right=within_tokenizer,
        reference=PADDING,
    ),
)
