"""A model in use: passes that raise, return NaN or infinity, or differ from each other."""

import attnscope
from attnscope.doctor.findings.entry import Entry
from attnscope.doctor.findings.model_examples import tiny
from attnscope.doctor.findings.references import EVAL, HALF, MODULE


def raises():
    from torch import nn

    model, tokenizer = tiny("bert")  # random weights
    model.encoder.layer[1].intermediate.dense = nn.Linear(23, 53)  # the model is 24 wide
    return attnscope.check(model, tokenizer, "the cat sat")


def runs():
    from torch import nn

    model, tokenizer = tiny("bert")  # random weights
    model.encoder.layer[1].intermediate.dense = nn.Linear(24, 53)
    return attnscope.check(model, tokenizer, "the cat sat")


def overflow():
    model, tokenizer = tiny("llama")  # random weights
    model.layers[1].mlp.down_proj.weight.data.mul_(1e5)  # some checkpoints have activations this large
    return attnscope.check(model.half(), tokenizer, "the cat sat")


def no_overflow():
    model, tokenizer = tiny("llama")  # random weights
    model.layers[1].mlp.down_proj.weight.data.mul_(1e5)
    return attnscope.check(model.bfloat16(), tokenizer, "the cat sat")


def training():
    model, tokenizer = tiny("bert")  # random weights
    model.train()
    return attnscope.check(model, tokenizer, "the cat sat")


def evaluating():
    model, tokenizer = tiny("bert")  # random weights
    model.eval()
    return attnscope.check(model, tokenizer, "the cat sat")


ENTRIES = (
    Entry(
        id="model-raises",
        severity="error",
        what="the model raises an error on these inputs",
        title="the model raises {error}",
        why="Without a pass there is nothing to check.",
        evidence="the last module that was entered: {last}",
        cure="run model(**inputs) by itself, and make that work first",
        invariant="the model runs on its inputs",
        place="the call",
        wrong=raises,
        right=runs,
        reference=MODULE,
    ),
    Entry(
        id="model-not-finite",
        severity="error",
        what="the model computes NaN or infinity",
        title="{kind}, first in {where}",
        why="Every number that depends on it is then NaN, or the softmax gives all weight to one key.",
        cure='for overflow in float16: model.to(torch.bfloat16), or attnscope.load(name, dtype="float32"); for a damaged '
        "weight: load the weights again",
        invariant="every number in the pass is finite",
        place="the first module that returns NaN or infinity",
        wrong=overflow,
        right=no_overflow,
        reference=HALF,
    ),
    Entry(
        id="dropout-active",
        severity="error",
        row=19,
        what="dropout is active: the outputs change from pass to pass",
        title="dropout is active: {reason}",
        why="Every pass then gives different numbers, and worse ones: some attention weights are zeroed, the others scaled up.",
        evidence="passes over the same input differ by up to {change:.3g} standard deviations{modules}",
        cure="model.eval()",
        invariant="two passes over the same input are equal",
        place="the mode that the model is in",
        wrong=training,
        right=evaluating,
        reference=EVAL,
    ),
)
