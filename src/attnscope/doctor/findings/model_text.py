"""A model in use: what the tokenizer made of the text, and whether the model knows these ids."""

import attnscope
from attnscope.doctor.findings.entry import Entry
from attnscope.doctor.findings.model_examples import tiny
from attnscope.doctor.findings.references import CHAT_TEMPLATE, RESIZE, SINKS, TOKENIZER

CHAT = "{{ bos_token }}{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
CHAT += "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
APPLY = 'tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)'


def bos_doubled():
    model, tokenizer = tiny("llama")  # random weights
    return attnscope.check(model, tokenizer, "<s> the cat sat")  # the tokenizer adds another <s>


def bos_once():
    model, tokenizer = tiny("llama")  # random weights
    return attnscope.check(model, tokenizer, "the cat sat")


def bos_absent():
    model, tokenizer = tiny("bert")  # random weights
    inputs = tokenizer("the cat sat", add_special_tokens=False, return_tensors="pt")
    return attnscope.check(model, tokenizer, inputs=inputs)


def bos_present():
    model, tokenizer = tiny("bert")  # random weights
    inputs = tokenizer("the cat sat", return_tensors="pt")
    return attnscope.check(model, tokenizer, inputs=inputs)


def token_without_row():
    model, tokenizer = tiny("gpt2")  # random weights
    tokenizer.add_tokens(["purrs"])
    return attnscope.check(model, tokenizer, "the cat purrs")


def token_with_row():
    model, tokenizer = tiny("gpt2")  # random weights
    tokenizer.add_tokens(["purrs"])
    model.resize_token_embeddings(len(tokenizer))  # then train the new row
    return attnscope.check(model, tokenizer, "the cat purrs")


def marker_in_pieces():
    model, tokenizer = tiny("bert")  # random weights
    return attnscope.check(model, tokenizer, "the [mask] sat")


def marker_whole():
    model, tokenizer = tiny("bert")  # random weights
    return attnscope.check(model, tokenizer, "the [MASK] sat")


def plain_text():
    model, tokenizer = tiny("llama", chat_template=CHAT)  # random weights
    return attnscope.check(model, tokenizer, "the cat sat")


def chat():
    model, tokenizer = tiny("llama", chat_template=CHAT)  # random weights
    return attnscope.check(model, tokenizer, messages=[{"role": "user", "content": "the cat sat"}])


def turn_open():
    model, tokenizer = tiny("llama", chat_template=CHAT)  # random weights
    text = "<|im_start|>user\nthe cat<|im_start|>user\na dog<|im_start|>assistant\n"
    return attnscope.check(model, tokenizer, text)


def turn_closed():
    model, tokenizer = tiny("llama", chat_template=CHAT)  # random weights
    text = "<|im_start|>user\nthe cat<|im_end|>\n<|im_start|>user\na dog<|im_end|>\n<|im_start|>assistant\n"
    return attnscope.check(model, tokenizer, text)


def answer_not_begun():
    model, tokenizer = tiny("llama", chat_template=CHAT)  # random weights
    return attnscope.check(model, tokenizer, "<|im_start|>user\nthe cat<|im_end|>\n")


def answer_begun():
    model, tokenizer = tiny("llama", chat_template=CHAT)  # random weights
    return attnscope.check(model, tokenizer, "<|im_start|>user\nthe cat<|im_end|>\n<|im_start|>assistant\n")


def another_text():
    model, tokenizer = tiny("bert")  # random weights
    texts = ["the cat sat", "a dog ran"]
    inputs = tokenizer(texts[::-1], return_tensors="pt")
    return attnscope.check(model, tokenizer, texts, inputs=inputs)


def its_own_text():
    model, tokenizer = tiny("bert")  # random weights
    texts = ["the cat sat", "a dog ran"]
    inputs = tokenizer(texts, return_tensors="pt")
    return attnscope.check(model, tokenizer, texts, inputs=inputs)


def another_tokenizer():
    model, tokenizer = tiny("llama")  # random weights
    model.resize_token_embeddings(29)
    return attnscope.check(model, tokenizer, "the cat sat")


def its_own_tokenizer():
    model, tokenizer = tiny("llama")  # random weights
    return attnscope.check(model, tokenizer, "the cat sat")


ENTRIES = (
    Entry(
        id="bos-doubled",
        severity="error",
        what="the text has its begin token twice",
        title="the text has its begin token {token} twice",
        why="The model never saw that in training. The first token takes much of the attention, and now two compete for it.",
        evidence="row {row} begins with {tokens} (ids {ids}): {reason}",
        cure=f"tokenizer(text, add_special_tokens=False) for a text that holds its special tokens; for a chat: {APPLY}",
        invariant="a text has one begin token",
        place="the first two tokens",
        wrong=bos_doubled,
        right=bos_once,
        reference=CHAT_TEMPLATE,
    ),
    Entry(
        id="bos-absent",
        severity="error",
        what="the text lacks its begin token",
        title="the text lacks its begin token {token}",
        why="The tokenizer adds it to every text, and the model was trained with it. Many heads attend to it where they find "
        "nothing else.",
        evidence="row {row} begins with {tokens} (ids {ids}); the tokenizer itself begins every text with {before}",
        cure='tokenizer(text, return_tensors="pt"), without add_special_tokens=False',
        invariant="a text begins as the tokenizer begins it",
        place="the first token",
        wrong=bos_absent,
        right=bos_present,
        reference=SINKS,
    ),
    Entry(
        id="ids-beyond-embedding",
        severity="error",
        what="the model looks up ids that its table does not have",
        title="{subject} outside {table}, which has {rows} rows",
        why="On a CPU the look-up raises. On a GPU it breaks every later call too, or reads the memory beside the table.",
        cure="load both from the same name: model, tokenizer = attnscope.load(name); where you added tokens: "
        "model.resize_token_embeddings(len(tokenizer)), and train the new rows",
        invariant="every id is a row of its table",
        place="the ids",
        wrong=token_without_row,
        right=token_with_row,
        reference=RESIZE,
    ),
    Entry(
        id="special-tokens-split",
        severity="error",
        what="the tokenizer reads a special token of the text as ordinary pieces",
        title="{markers} {predicate}",
        why="The model then reads the letters of the marker, and what it learned for the token itself has no effect.",
        cure="write the marker as this tokenizer spells it (tokenizer.mask_token, tokenizer.eos_token, …), or let its chat "
        "template write it",
        invariant="a special token is one id",
        place="the text, where it holds such a marker",
        wrong=marker_in_pieces,
        right=marker_whole,
        reference=TOKENIZER,
    ),
    Entry(
        id="no-chat-template",
        severity="warning",
        title="plain text, although the tokenizer has a chat template",
        why="A model tuned on chats answers within their frame. Without the frame it continues the text as any text.",
        evidence="the template frames a user's message as {framed}; this text has no {marker}: {text}",
        cure='attnscope.check(model, tokenizer, messages=[dict(role="user", content=text)]); to run it: '
        f"model(**{APPLY})",
        invariant="a chat model reads chats",
        place="how the text became ids",
        wrong=plain_text,
        right=chat,
        reference=CHAT_TEMPLATE,
    ),
    Entry(
        id="chat-turn-unclosed",
        severity="warning",
        what="a turn of the chat is not closed before the next begins",
        title="row {row} begins {begun} turns and closes {closed}: a {marker} is missing",
        why="The model was trained on turns that end with their marker. Without it, it reads the next turn as a part of this one.",
        cure="let the template write the chat: tokenizer.apply_chat_template(messages)",
        invariant="every turn but the last is closed",
        place="how the chat became text",
        wrong=turn_open,
        right=turn_closed,
        reference=CHAT_TEMPLATE,
    ),
    Entry(
        id="generation-prompt-missing",
        severity="note",
        what="the chat ends with the user's turn, and nothing begins the answer",
        title="row {row} ends with the user's turn; the answer would begin with {prompt}",
        why="A model that continues this text has to invent the beginning of its own turn first.",
        cure=f"to generate an answer: {APPLY}",
        invariant="what the model is to answer ends with the beginning of its answer",
        place="how the chat became text",
        wrong=answer_not_begun,
        right=answer_begun,
        reference=CHAT_TEMPLATE,
    ),
    Entry(
        id="ids-of-another-text",
        severity="error",
        what="the ids are not those of the text",
        title="the ids of row {row} are not those of its text",
        why="The model reads the ids. Whatever it gives belongs to another text.",
        cure='inputs = tokenizer(texts, padding=True, return_tensors="pt"), and leave ids and their order as they are',
        invariant="the ids are what the tokenizer makes of the text",
        place="input_ids",
        wrong=another_text,
        right=its_own_text,
        reference=TOKENIZER,
    ),
    Entry(
        id="tokenizer-of-another-model",
        severity="error",
        title="the tokenizer does not fit the model",
        why="An id then means one word to the tokenizer and another to the model.",
        cure="load both from the same name: model, tokenizer = attnscope.load(name); where you trained the tokenizer yourself: "
        "model.resize_token_embeddings(len(tokenizer)), set the special ids in model.config, and train",
        invariant="tokenizer and model share one vocabulary",
        place="the tokenizer",
        wrong=another_tokenizer,
        right=its_own_tokenizer,
        reference=RESIZE,
    ),
)
