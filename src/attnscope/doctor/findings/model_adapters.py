"""A model in use: adapters (LoRA) that are loaded and have no effect."""

import attnscope
from attnscope.doctor.findings.entry import Entry
from attnscope.doctor.findings.model_examples import tiny
from attnscope.doctor.findings.references import LORA, PEFT


def zero():
    import peft

    model, tokenizer = tiny("llama")  # random weights
    config = peft.LoraConfig(r=3, target_modules=["q_proj"])  # before training, B is zero
    return attnscope.check(peft.get_peft_model(model, config).eval(), tokenizer, "the cat sat")


def trained():
    import peft

    model, tokenizer = tiny("llama")  # random weights
    config = peft.LoraConfig(r=3, target_modules=["q_proj"], init_lora_weights=False)  # random, as if trained
    return attnscope.check(peft.get_peft_model(model, config).eval(), tokenizer, "the cat sat")


def inactive():
    import peft

    model, tokenizer = tiny("llama")  # random weights
    config = peft.LoraConfig(r=3, target_modules=["q_proj"], init_lora_weights=False)
    model = peft.get_peft_model(model, config).eval()
    with model.disable_adapter():
        return attnscope.check(model, tokenizer, "the cat sat")


def active():
    import peft

    model, tokenizer = tiny("llama")  # random weights
    config = peft.LoraConfig(r=3, target_modules=["q_proj"], init_lora_weights=False)
    model = peft.get_peft_model(model, config).eval()
    return attnscope.check(model, tokenizer, "the cat sat")


ENTRIES = (
    Entry(
        id="adapters-zero",
        severity="error",
        what="an adapter is all zero: it adds nothing",
        title="{subject} {predicate}",
        why="A new LoRA starts with B = 0. Its trained weights were not loaded, or were not saved.",
        cure="load the trained adapter, and read its warnings about missing and unexpected keys: "
        "peft.PeftModel.from_pretrained(model, folder)",
        invariant="a loaded adapter changes the output",
        place="the adapter's lora_B",
        wrong=zero,
        right=trained,
        reference=LORA,
    ),
    Entry(
        id="adapters-inactive",
        severity="error",
        what="an adapter is loaded and has no effect on the output",
        title="{subject} {predicate}",
        why="The model answers as it would without the adapter.",
        cure="model.set_adapter(name); where adapters were disabled: model.enable_adapter_layers(), or leave "
        "model.disable_adapter()",
        invariant="a loaded adapter changes the output",
        place="the adapter's modules",
        wrong=inactive,
        right=active,
        reference=PEFT,
    ),
)
