"""A model in use: masks, positions and labels as you give them, and the side on which a batch is padded."""

import attnscope
from attnscope.doctor.findings.entry import Entry
from attnscope.doctor.findings.model_examples import tiny
from attnscope.doctor.findings.references import ATTENTION_MASK, LABELS, PADDING, POSITION_IDS, TYPES

TEXTS = ["the cat sat on a mat", "a dog ran"]
AS_MADE = (
    'give the attention_mask as the tokenizer makes it: model(**tokenizer(texts, padding=True, return_tensors="pt"))'
)
SEES = "Every token attends to what the mask shows and to nothing else."


def typed_pairs():
    """A BERT whose tokenizer gives the second text of a pair the type 1."""
    from tokenizers import processors

    model, tokenizer = tiny("bert")  # random weights
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
    return model, tokenizer


def batch(tokenizer, texts=TEXTS):
    return dict(tokenizer(texts, padding=True, return_tensors="pt"))


def inverted():
    model, tokenizer = tiny("bert")  # random weights
    inputs = batch(tokenizer)
    inputs["attention_mask"] = 1 - inputs["attention_mask"]
    return attnscope.check(model, tokenizer, inputs=inputs)


def as_made():
    model, tokenizer = tiny("bert")  # random weights
    return attnscope.check(model, tokenizer, inputs=batch(tokenizer))


def text_hidden():
    model, tokenizer = tiny("bert")  # random weights
    inputs = batch(tokenizer, ["the cat sat on a mat"])
    inputs["attention_mask"] = 0 * inputs["attention_mask"]
    return attnscope.check(model, tokenizer, inputs=inputs)


def end_hidden():
    model, tokenizer = tiny("llama")  # random weights
    tokenizer.pad_token = tokenizer.eos_token
    model.config.pad_token_id = tokenizer.eos_token_id
    inputs = batch(tokenizer, ["the cat sat </s> a dog ran"])
    inputs["attention_mask"] = (inputs["input_ids"] != tokenizer.pad_token_id).long()
    return attnscope.check(model, tokenizer, inputs=inputs)


def end_shown():
    model, tokenizer = tiny("llama")  # random weights
    tokenizer.pad_token = tokenizer.eos_token
    model.config.pad_token_id = tokenizer.eos_token_id
    inputs = batch(tokenizer, ["the cat sat </s> a dog ran"])
    return attnscope.check(model, tokenizer, inputs=inputs)


def all_zero():
    model, tokenizer = tiny("bert")  # random weights
    inputs = batch(tokenizer, ["the cat sat on a mat"])
    inputs["position_ids"] = 0 * inputs["input_ids"]
    return attnscope.check(model, tokenizer, inputs=inputs)


def counted():
    model, tokenizer = tiny("bert")  # random weights
    inputs = batch(tokenizer, ["the cat sat on a mat"])
    inputs["position_ids"] = inputs["attention_mask"].cumsum(-1) - 1
    return attnscope.check(model, tokenizer, inputs=inputs)


def padded_right():
    import transformers

    body, tokenizer = tiny("llama")  # random weights
    model = transformers.LlamaForCausalLM(body.config).eval()
    return attnscope.check(model, tokenizer, TEXTS)


def padded_left():
    import transformers

    body, tokenizer = tiny("llama")  # random weights
    model = transformers.LlamaForCausalLM(body.config).eval()
    tokenizer.padding_side = "left"
    return attnscope.check(model, tokenizer, TEXTS)


def mean_of_all():
    from torch import nn

    class Mean(nn.Module):
        def __init__(self, model):
            super().__init__()
            self.model = model

        def forward(self, input_ids, attention_mask):
            return self.model(input_ids, attention_mask).last_hidden_state.mean(1)

    model, tokenizer = tiny("bert")  # random weights
    return attnscope.check(Mean(model), tokenizer, TEXTS)


def mean_of_the_text():
    from torch import nn

    class Mean(nn.Module):
        def __init__(self, model):
            super().__init__()
            self.model = model

        def forward(self, input_ids, attention_mask):
            states = self.model(input_ids, attention_mask).last_hidden_state * attention_mask[..., None]
            return states.sum(1) / attention_mask.sum(1, keepdim=True)

    model, tokenizer = tiny("bert")  # random weights
    return attnscope.check(Mean(model), tokenizer, TEXTS)


def shifted():
    import transformers

    body, tokenizer = tiny("llama")  # random weights
    model = transformers.LlamaForCausalLM(body.config).eval()
    inputs = batch(tokenizer, ["the cat sat on a mat"])
    inputs["labels"] = inputs["input_ids"].roll(-1, dims=1)
    return attnscope.check(model, tokenizer, inputs=inputs)


def unshifted():
    import transformers

    body, tokenizer = tiny("llama")  # random weights
    model = transformers.LlamaForCausalLM(body.config).eval()
    inputs = batch(tokenizer, ["the cat sat on a mat"])
    inputs["labels"] = inputs["input_ids"].clone()
    return attnscope.check(model, tokenizer, inputs=inputs)


def types_lost():
    model, tokenizer = typed_pairs()
    inputs = dict(tokenizer("the cat sat", "a dog ran", return_tensors="pt"))
    inputs["token_type_ids"] = 0 * inputs["token_type_ids"]
    return attnscope.check(model, tokenizer, "the cat sat", text_pair="a dog ran", inputs=inputs)


def types_kept():
    model, tokenizer = typed_pairs()
    inputs = dict(tokenizer("the cat sat", "a dog ran", return_tensors="pt"))
    return attnscope.check(model, tokenizer, "the cat sat", text_pair="a dog ran", inputs=inputs)


ENTRIES = (
    Entry(
        id="attention-mask-inverted",
        severity="error",
        title="the attention_mask is inverted: it shows the pads and hides the text",
        why=SEES,
        cure="attention_mask = 1 - attention_mask: 1 for tokens of the text, 0 for pads; or " + AS_MADE,
        invariant="the mask is 1 where the text is",
        place="attention_mask",
        wrong=inverted,
        right=as_made,
        reference=ATTENTION_MASK,
    ),
    Entry(
        id="mask-hides-text",
        severity="error",
        what="the attention_mask hides tokens of the text",
        title="the attention_mask hides {what} of the text{of_rows}",
        why=SEES + " Where it shows nothing, the weights are equal or NaN.",
        cure=AS_MADE,
        invariant="the mask is 1 where the text is",
        place="attention_mask",
        wrong=text_hidden,
        right=as_made,
        reference=ATTENTION_MASK,
    ),
    Entry(
        id="mask-hides-end",
        severity="error",
        what="the mask hides an end token of the text, because it is the pad token too",
        title="the mask hides {token}, which ends a text here and is the pad token too",
        why="A mask made as input_ids != pad_token_id cannot tell the end of a text from padding. The model does not see where the "
        "text ends, and does not learn to end it.",
        cure=AS_MADE + "; or give pads a token of their own: tokenizer.pad_token = ...",
        invariant="the mask hides pads and nothing else",
        place="attention_mask",
        wrong=end_hidden,
        right=end_shown,
        reference=PADDING,
    ),
    Entry(
        id="position-ids",
        severity="error",
        what="position_ids are not those of the text",
        title="position_ids are not those of the text: {kind}",
        why="The model then reads the text in another order, or as if it stood elsewhere.",
        cure="leave position_ids out, or count the text: position_ids = (attention_mask.cumsum(-1) - 1).clamp(min=0); RoBERTa's kin "
        "begin at padding_idx + 1",
        invariant="a row with its position_ids gives what it gives alone",
        place="position_ids",
        wrong=all_zero,
        right=counted,
        reference=POSITION_IDS,
    ),
    Entry(
        id="right-padding",
        severity="warning",
        title="a batch for a model that continues texts is padded on the right",
        why="The outputs of the text are right. Where the text is continued, logits[:, -1] and generate() go on from a pad.",
        cure='tokenizer.padding_side = "left", with position_ids counted from the text; in training, give labels, with -100 at pads',
        invariant="the last position of a row is its last token",
        place="the side of the padding",
        wrong=padded_right,
        right=padded_left,
        reference=PADDING,
    ),
    Entry(
        id="pads-counted",
        severity="error",
        title="pads are masked in the attention and counted after it",
        why="A mean or a maximum over all positions takes the vectors of the pads too, so that a row depends on the batch.",
        cure="leave the pads out where rows are pooled: (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)",
        invariant="a row of a batch gives what it gives alone",
        place="what pools the positions",
        wrong=mean_of_all,
        right=mean_of_the_text,
        reference=ATTENTION_MASK,
    ),
    Entry(
        id="labels-shifted-twice",
        severity="error",
        title="the labels are shifted, and the model shifts them again",
        why="A causal model of transformers compares the output at position t with the label at t + 1. With labels that are the next "
        "ids already, it learns the token after the next.",
        cure="labels = input_ids.clone(), with -100 at pads",
        invariant="a label is the id of its own position",
        place="labels",
        wrong=shifted,
        right=unshifted,
        reference=LABELS,
    ),
    Entry(
        id="pair-without-types",
        severity="error",
        title="token_type_ids do not tell the two texts of the pair apart",
        why="The model adds a vector for the first text or the second to every token. Without it, both read as one text.",
        cure='inputs = tokenizer(text, text_pair, return_tensors="pt"), with its token_type_ids',
        invariant="each token has the type of its text",
        place="token_type_ids",
        wrong=types_lost,
        right=types_kept,
        reference=TYPES,
    ),
)
