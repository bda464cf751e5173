"""How often `attnscope.check(model, tokenizer, …)` accuses a sound run, and how many broken runs it catches.

    python benchmarks/doctor_in_use.py            # writes its section of RESULTS.md
    python benchmarks/doctor_in_use.py --quick    # prints only, with every miss
    python benchmarks/doctor_in_use.py --quick albert bart    # only the runs whose name holds one of these

Sound: tiny models with random weights, many architectures × heads × ways of padding. A run counts as accused when there is
an error or a warning, or when check raises. Broken: one mistake each; caught when the diagnosis has a finding, named when it
has the finding expected.
"""

import argparse
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
import transformers
from torch import nn

import attnscope

VOCABULARY = 97
WORDS = "the cat sat on a mat dog ran to in of it air plane flies high low user end".split()
TEXT = "the cat sat on a mat"
TEXTS = ["the cat sat on a mat of air", "a dog ran to it"]
LONG = "the dog ran high in the air of it to a cat on a plane"

# --- tokenizers and models ------------------------------------------------------------------------------------------------

STYLES = {  # names of the special tokens by id; what stands before and after a text
    "bert": (("[UNK]", "[PAD]", "[CLS]", "[SEP]", "[MASK]"), "[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1"),
    "roberta": (("<unk>", "<pad>", "<s>", "</s>", "<mask>"), "<s> $A </s>", "<s> $A </s> </s> $B </s>"),
    "llama": (("<unk>", "<pad>", "<s>", "</s>", "<mask>"), "<s> $A", "<s> $A $B"),
    "gpt2": (("<unk>", "<pad>", "<s>", "</s>", "<mask>"), "$A", "$A $B"),
    "t5": (("<unk>", "<pad>", "<s>", "</s>", "<mask>"), "$A </s>", "$A </s> $B </s>"),
    "xlnet": (("<unk>", "<pad>", "<s>", "</s>", "<mask>"), "$A </s> <s>", "$A </s> $B </s> <s>"),
}


def tokenizer(style: str, side: str = "right", pad: str | None = None, **options: Any) -> Any:
    """Words, letters and signs; `pad` names another pad token."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    special, single, pair = STYLES[style]
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    pieces = list(dict.fromkeys([*special, *WORDS, *letters, *("##" + x for x in letters), *".,!?"]))
    raw = Tokenizer(models.WordPiece({p: i for i, p in enumerate(pieces[:VOCABULARY])}, unk_token=special[0]))
    raw.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    raw.post_processor = processors.TemplateProcessing(
        single=single, pair=pair, special_tokens=[(special[2], 2), (special[3], 3)]
    )
    begin, end = ("cls_token", "sep_token") if style == "bert" else ("bos_token", "eos_token")
    names = {"unk_token": special[0], "pad_token": pad or special[1], begin: special[2], end: special[3]}
    inputs = ["input_ids", *(["token_type_ids"] if style == "bert" else []), "attention_mask"]
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=raw,
        mask_token=special[4],
        padding_side=side,
        **{"model_input_names": inputs, **names, **options},
    )


IDS = {"vocab_size": VOCABULARY, "pad_token_id": 1, "bos_token_id": 2, "eos_token_id": 3}
ENCODER = {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 53,
    "max_position_embeddings": 66,
}
LLAMA = {**ENCODER, "hidden_size": 24, "num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 8}
MOE = {"num_experts_per_tok": 2, "num_local_experts": 3, "num_experts": 3, "moe_intermediate_size": 29}
BART = {
    "d_model": 24,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 3,
    "decoder_attention_heads": 3,
    "encoder_ffn_dim": 53,
    "decoder_ffn_dim": 53,
    "max_position_embeddings": 66,
    "decoder_start_token_id": 3,
    "forced_eos_token_id": 3,
}
T5 = {"d_model": 24, "d_kv": 8, "d_ff": 53, "num_layers": 2, "num_heads": 3, "decoder_start_token_id": 1}
XLM = {
    "emb_dim": 24,
    "n_layers": 2,
    "n_heads": 3,
    "max_position_embeddings": 66,
    "pad_index": 1,
    "bos_index": 2,
    "eos_index": 3,
}

# name: (style of the tokenizer, class of the configuration, options, heads: classes of the model)
MADE: dict[str, tuple[str, str, dict[str, Any], str]] = {
    "albert": ("bert", "AlbertConfig", {**ENCODER, "embedding_size": 16}, "AlbertModel AlbertForSequenceClassification AlbertForQuestionAnswering"),
    "bert": (
        "bert",
        "BertConfig",
        ENCODER,
        "BertModel BertForSequenceClassification BertForQuestionAnswering BertForNextSentencePrediction BertForPreTraining",
    ),
    "big_bird": ("bert", "BigBirdConfig", {**ENCODER, "attention_type": "original_full"}, "BigBirdForSequenceClassification BigBirdForQuestionAnswering"),
    "camembert": ("roberta", "CamembertConfig", ENCODER, "CamembertForSequenceClassification CamembertForTokenClassification"),
    "convbert": ("bert", "ConvBertConfig", {**ENCODER, "num_attention_heads": 4, "embedding_size": 24}, "ConvBertModel ConvBertForSequenceClassification"),
    "data2vec": ("roberta", "Data2VecTextConfig", ENCODER, "Data2VecTextForSequenceClassification"),
    "deberta": ("bert", "DebertaConfig", {**ENCODER, "relative_attention": True, "pos_att_type": ["c2p", "p2c"]}, "DebertaForSequenceClassification DebertaForQuestionAnswering"),
    "deberta-v2": ("bert", "DebertaV2Config", {**ENCODER, "relative_attention": True, "pos_att_type": ["c2p", "p2c"], "position_buckets": 16, "share_att_key": True}, "DebertaV2Model DebertaV2ForSequenceClassification"),
    "distilbert": (
        "bert",
        "DistilBertConfig",
        {"dim": 24, "n_layers": 2, "n_heads": 3, "hidden_dim": 53, "max_position_embeddings": 66},
        "DistilBertForSequenceClassification DistilBertForQuestionAnswering",
    ),
    "electra": ("bert", "ElectraConfig", {**ENCODER, "embedding_size": 16}, "ElectraForPreTraining ElectraForSequenceClassification"),
    "ernie": ("bert", "ErnieConfig", ENCODER, "ErnieForSequenceClassification ErnieForNextSentencePrediction"),
    "flaubert": ("roberta", "FlaubertConfig", XLM, "FlaubertForSequenceClassification FlaubertForQuestionAnsweringSimple"),
    "fnet": ("bert", "FNetConfig", {**ENCODER, "tpu_short_seq_length": 32}, "FNetForSequenceClassification"),
    "funnel": ("bert", "FunnelConfig", {"d_model": 24, "n_head": 3, "d_head": 8, "d_inner": 53, "block_sizes": [1, 1]}, "FunnelModel FunnelForSequenceClassification"),
    "ibert": ("roberta", "IBertConfig", ENCODER, "IBertForSequenceClassification"),
    "longformer": ("roberta", "LongformerConfig", {**ENCODER, "attention_window": 8}, "LongformerForSequenceClassification LongformerForTokenClassification"),
    "luke": ("roberta", "LukeConfig", {**ENCODER, "entity_vocab_size": 7, "entity_emb_size": 12}, "LukeForSequenceClassification"),
    "megatron-bert": ("bert", "MegatronBertConfig", ENCODER, "MegatronBertForNextSentencePrediction"),
    "mobilebert": ("bert", "MobileBertConfig", {**ENCODER, "embedding_size": 24, "true_hidden_size": 24, "intra_bottleneck_size": 24}, "MobileBertForSequenceClassification"),
    "modernbert": ("bert", "ModernBertConfig", {**ENCODER, "cls_token_id": 2, "sep_token_id": 3, "local_attention": 8}, "ModernBertModel ModernBertForSequenceClassification ModernBertForMaskedLM"),
    "mpnet": ("roberta", "MPNetConfig", ENCODER, "MPNetForSequenceClassification MPNetForMaskedLM"),
    "nystromformer": ("bert", "NystromformerConfig", {**ENCODER, "num_landmarks": 4, "segment_means_seq_len": 4}, "NystromformerForSequenceClassification"),
    "rembert": ("bert", "RemBertConfig", {**ENCODER, "input_embedding_size": 16, "output_embedding_size": 16}, "RemBertForSequenceClassification"),
    "roberta": ("roberta", "RobertaConfig", ENCODER, "RobertaModel RobertaForSequenceClassification RobertaForQuestionAnswering RobertaForMaskedLM"),
    "roformer": ("bert", "RoFormerConfig", {**ENCODER, "embedding_size": 24}, "RoFormerForSequenceClassification RoFormerForQuestionAnswering"),
    "squeezebert": ("bert", "SqueezeBertConfig", {**ENCODER, "hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4, "embedding_size": 32}, "SqueezeBertForSequenceClassification SqueezeBertForQuestionAnswering"),
    "xlm": ("roberta", "XLMConfig", XLM, "XLMForSequenceClassification XLMForQuestionAnsweringSimple"),
    "xlm-roberta": ("roberta", "XLMRobertaConfig", ENCODER, "XLMRobertaForSequenceClassification"),
    "xlnet": ("xlnet", "XLNetConfig", {"d_model": 24, "n_layer": 2, "n_head": 3, "d_inner": 53}, "XLNetModel XLNetForSequenceClassification XLNetForQuestionAnsweringSimple"),
    "bart": (
        "roberta",
        "BartConfig",
        BART,
        "BartModel BartForConditionalGeneration BartForSequenceClassification BartForQuestionAnswering",
    ),
    "mbart": ("roberta", "MBartConfig", BART, "MBartForConditionalGeneration MBartForSequenceClassification"),
    "marian": ("t5", "MarianConfig", {**BART, "decoder_start_token_id": 1}, "MarianMTModel"),
    "pegasus": ("t5", "PegasusConfig", {**BART, "decoder_start_token_id": 1}, "PegasusForConditionalGeneration"),
    "m2m": ("roberta", "M2M100Config", BART, "M2M100ForConditionalGeneration"),
    "plbart": ("roberta", "PLBartConfig", BART, "PLBartForSequenceClassification"),
    "led": ("roberta", "LEDConfig", {**{k: v for k, v in BART.items() if k != "max_position_embeddings"}, "attention_window": 8, "max_encoder_position_embeddings": 66, "max_decoder_position_embeddings": 66}, "LEDForConditionalGeneration LEDForQuestionAnswering"),
    "t5": ("t5", "T5Config", T5, "T5Model T5ForConditionalGeneration T5ForSequenceClassification T5ForQuestionAnswering T5ForTokenClassification T5EncoderModel"),
    "umt5": ("t5", "UMT5Config", T5, "UMT5ForSequenceClassification UMT5ForConditionalGeneration"),
    "longt5": ("t5", "LongT5Config", {**T5, "local_radius": 5}, "LongT5ForConditionalGeneration"),
    "switch": ("t5", "SwitchTransformersConfig", {**T5, "num_experts": 3, "num_sparse_encoder_layers": 1, "num_sparse_decoder_layers": 1}, "SwitchTransformersForConditionalGeneration"),
    "bloom": ("gpt2", "BloomConfig", {"hidden_size": 24, "n_layer": 2, "n_head": 3}, "BloomForCausalLM BloomForSequenceClassification"),
    "codegen": ("gpt2", "CodeGenConfig", {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 66, "rotary_dim": 4}, "CodeGenForCausalLM"),
    "ctrl": ("gpt2", "CTRLConfig", {"n_embd": 24, "n_layer": 2, "n_head": 3, "n_positions": 66, "dff": 53}, "CTRLForSequenceClassification"),
    "falcon": ("gpt2", "FalconConfig", {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3}, "FalconForCausalLM FalconForSequenceClassification"),
    "gemma": ("llama", "GemmaConfig", LLAMA, "GemmaForCausalLM"),
    "gemma3": ("llama", "Gemma3TextConfig", {**LLAMA, "sliding_window": 6}, "Gemma3ForCausalLM"),
    "gpt2": ("gpt2", "GPT2Config", {"n_embd": 24, "n_layer": 2, "n_head": 3, "n_positions": 66}, "GPT2Model GPT2LMHeadModel GPT2ForSequenceClassification GPT2ForTokenClassification"),
    "gpt-bigcode": ("gpt2", "GPTBigCodeConfig", {"n_embd": 24, "n_layer": 2, "n_head": 3, "n_positions": 66}, "GPTBigCodeForSequenceClassification"),
    "gpt-neo": ("gpt2", "GPTNeoConfig", {"hidden_size": 24, "num_layers": 2, "num_heads": 3, "attention_types": [[["global", "local"], 1]], "window_size": 5, "max_position_embeddings": 66}, "GPTNeoForSequenceClassification GPTNeoForQuestionAnswering"),
    "gpt-neox": ("gpt2", "GPTNeoXConfig", ENCODER, "GPTNeoXForCausalLM GPTNeoXForSequenceClassification"),
    "gptj": ("gpt2", "GPTJConfig", {"n_embd": 24, "n_layer": 2, "n_head": 3, "n_positions": 66, "rotary_dim": 4}, "GPTJForSequenceClassification"),
    "granite": ("gpt2", "GraniteConfig", LLAMA, "GraniteForCausalLM"),
    "llama": ("llama", "LlamaConfig", LLAMA, "LlamaModel LlamaForCausalLM LlamaForSequenceClassification LlamaForQuestionAnswering LlamaForTokenClassification"),
    "mamba": ("gpt2", "MambaConfig", {"hidden_size": 24, "num_hidden_layers": 2, "state_size": 5}, "MambaForCausalLM"),
    "mistral": ("llama", "MistralConfig", {**LLAMA, "sliding_window": 6}, "MistralForCausalLM MistralForSequenceClassification"),
    "mixtral": ("llama", "MixtralConfig", {**LLAMA, **MOE}, "MixtralForCausalLM"),
    "mpt": ("gpt2", "MptConfig", {"d_model": 24, "n_layers": 2, "n_heads": 3, "max_seq_len": 66}, "MptForCausalLM MptForSequenceClassification"),
    "olmo2": ("gpt2", "Olmo2Config", LLAMA, "Olmo2ForCausalLM"),
    "openai-gpt": ("gpt2", "OpenAIGPTConfig", {"n_embd": 24, "n_layer": 2, "n_head": 3, "n_positions": 66}, "OpenAIGPTForSequenceClassification"),
    "opt": ("roberta", "OPTConfig", {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "ffn_dim": 53, "word_embed_proj_dim": 24, "max_position_embeddings": 66}, "OPTForCausalLM OPTForSequenceClassification OPTForQuestionAnswering"),
    "phi": ("gpt2", "PhiConfig", ENCODER, "PhiForCausalLM"),
    "qwen2": ("gpt2", "Qwen2Config", LLAMA, "Qwen2ForCausalLM Qwen2ForSequenceClassification"),
    "qwen3": ("gpt2", "Qwen3Config", LLAMA, "Qwen3ForCausalLM Qwen3ForTokenClassification"),
    "stablelm": ("gpt2", "StableLmConfig", {**ENCODER, "hidden_size": 48, "num_key_value_heads": 3}, "StableLmForCausalLM"),
    "xglm": ("roberta", "XGLMConfig", {"d_model": 24, "num_layers": 2, "attention_heads": 3, "ffn_dim": 53, "max_position_embeddings": 66}, "XGLMForCausalLM"),
    "biogpt": ("roberta", "BioGptConfig", ENCODER, "BioGptForCausalLM BioGptForSequenceClassification"),
    "clip": ("roberta", "CLIPTextConfig", ENCODER, "CLIPTextModel CLIPTextModelWithProjection"),
    "layoutlm": ("bert", "LayoutLMConfig", ENCODER, "LayoutLMForSequenceClassification"),
    "canine": ("bert", "CanineConfig", {**ENCODER, "num_hash_buckets": 31, "num_hash_functions": 4, "local_transformer_stride": 8, "downsampling_rate": 4, "upsampling_kernel_size": 4}, "CanineForSequenceClassification"),
}  # fmt: skip
RIGHT_ONLY = {
    "gpt2",
    "ctrl",
    "gpt-bigcode",
    "gpt-neo",
    "openai-gpt",
    "xglm",
}  # positions are counted from the first pad


@torch.no_grad()
def spread(model: nn.Module) -> None:
    """Weights so large that attention is far from uniform."""
    generator = torch.Generator().manual_seed(7)
    for _, parameter in sorted(model.named_parameters()):
        if parameter.ndim > 1:
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * parameter.shape[-1] ** -0.5)


def model(name: str, head: str = "", **changes: Any) -> Any:
    _, config, options, heads = MADE[name]
    kind = getattr(transformers, config)
    made = kind(**{**IDS, **options, **changes})
    made._experts_implementation = "eager"  # the others want sizes that are multiples of 16 bytes
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        built = getattr(transformers, head or heads.split()[0])(made)
    spread(built)
    return built.eval()


# --- sound runs -----------------------------------------------------------------------------------------------------------

Runs = Iterator[tuple[str, Callable[[], Any]]]


def sound() -> Runs:
    for name, (style, _, _, heads) in MADE.items():
        for head in heads.split():
            generates = head.endswith(("CausalLM", "LMHeadModel"))
            # XLNet's classifier pools the last place of a row, and is padded on the left.
            sides = ["right"] if not generates and head != "XLNetForSequenceClassification" else []
            sides += ["left"] if (style in ("llama", "gpt2") and name not in RIGHT_ONLY) or style == "xlnet" else []

            def one(name: str = name, head: str = head, style: str = style) -> Any:
                return attnscope.check(model(name, head), tokenizer(style), TEXT)

            yield f"{head}, one text", one
            for side in sides:

                def batch(name: str = name, head: str = head, style: str = style, side: str = side) -> Any:
                    return attnscope.check(model(name, head), tokenizer(style, side), TEXTS)

                def given(name: str = name, head: str = head, style: str = style, side: str = side) -> Any:
                    reader = tokenizer(style, side)
                    inputs = reader(TEXTS, padding="max_length", max_length=23, return_tensors="pt")
                    if "token_type_ids" in inputs and head.startswith(("Distil", "Canine", "Modern")):
                        del inputs["token_type_ids"]
                    return attnscope.check(model(name, head), reader, inputs=inputs)

                yield f"{head}, batch padded {side}", batch
                yield f"{head}, given padded {side}", given
    yield from sound_by_hand()


def sound_by_hand() -> Runs:
    yield (
        "BERT, a pair",
        lambda: attnscope.check(model("bert"), tokenizer("bert"), "the cat sat", text_pair="a dog ran to it"),
    )
    yield (
        "BERT for next sentences, a pair",
        lambda: attnscope.check(
            model("bert", "BertForNextSentencePrediction"), tokenizer("bert"), TEXT, text_pair="a dog"
        ),
    )

    def cut_pair() -> Any:
        reader = tokenizer("bert")
        inputs = reader(TEXT, LONG, return_tensors="pt")
        return attnscope.check(model("bert"), reader, TEXT, text_pair=LONG, inputs=inputs)

    yield "BERT, a pair as inputs with its texts", cut_pair

    def with_texts(style: str, name: str, side: str = "right") -> Callable[[], Any]:
        def run() -> Any:
            reader = tokenizer(style, side)
            return attnscope.check(model(name), reader, TEXTS, inputs=reader(TEXTS, padding=True, return_tensors="pt"))

        return run

    yield "RoBERTa, inputs with their texts", with_texts("roberta", "roberta")
    yield "Llama, inputs with their texts, left", with_texts("llama", "llama", "left")
    yield "T5, inputs with their texts", with_texts("t5", "t5")

    def counted(name: str, head: str = "", start: int = 0) -> Callable[[], Any]:
        def run() -> Any:
            reader = tokenizer(MADE[name][0], "left")
            inputs = dict(reader(TEXTS, padding=True, return_tensors="pt"))
            inputs.pop("token_type_ids", None)
            inputs["position_ids"] = (inputs["attention_mask"].cumsum(-1) - 1).clamp(min=0) + start
            return attnscope.check(model(name, head), reader, inputs=inputs)

        return run

    yield "GPT-2, left, positions counted", counted("gpt2", "GPT2LMHeadModel")
    yield "Llama, left, positions counted", counted("llama", "LlamaForCausalLM")
    yield "Llama, positions that begin at 9", counted("llama", "LlamaForCausalLM", 9)
    yield "RoBERTa, left, positions from 2", counted("roberta", "", 2)
    yield "OPT, left, positions counted", counted("opt", "OPTForCausalLM")

    def packed() -> Any:
        reader = tokenizer("gpt2")
        one, two = (reader(text)["input_ids"] for text in TEXTS)
        places = torch.tensor([[*range(len(one)), *range(len(two))]])
        ids = torch.tensor([[*one, *two]])
        return attnscope.check(model("gpt2"), reader, inputs={"input_ids": ids, "position_ids": places})

    yield "GPT-2, two texts packed in a row", packed

    def pad_is_eos(side: str, name: str = "llama", head: str = "LlamaForCausalLM", text: str = "") -> Callable[[], Any]:
        def run() -> Any:
            reader = tokenizer(MADE[name][0], side, pad="</s>")
            texts = [x + text for x in TEXTS]
            return attnscope.check(model(name, head, pad_token_id=3), reader, texts)

        return run

    yield "Llama, pad = eos, left", pad_is_eos("left")
    yield "Llama, pad = eos, texts that end with it, left", pad_is_eos("left", text=" </s>")
    yield "Llama, pad = eos, one base model right", pad_is_eos("right", head="LlamaModel", text=" </s>")

    def ended_and_hidden_right() -> Any:
        reader = tokenizer("t5", pad="</s>")
        inputs = reader(TEXTS, padding=True, return_tensors="pt")
        return attnscope.check(model("t5", "T5EncoderModel", pad_token_id=3), reader, inputs=inputs)

    yield "T5 encoder, pad = eos, the eos shown", ended_and_hidden_right

    def training() -> Any:
        reader = tokenizer("llama")
        inputs = dict(reader(TEXTS, padding=True, return_tensors="pt"))
        inputs["labels"] = inputs["input_ids"].masked_fill(inputs["attention_mask"] == 0, -100)
        return attnscope.check(model("llama", "LlamaForCausalLM"), reader, inputs=inputs)

    yield "Llama, a training batch padded right, with labels", training

    def templated() -> Any:
        reader = tokenizer("llama")
        text = "the cat ran"
        return attnscope.check(
            model("llama", "LlamaForCausalLM"), reader, text, inputs=reader(f"user , {text} end", return_tensors="pt")
        )

    yield "Llama, inputs that frame the text", templated

    def other_spaces() -> Any:
        reader = tokenizer("roberta")
        text = "the cat sat, on a mat!"
        words = reader(["the", "cat", "sat", ",", "on", "a", "mat", "!"], is_split_into_words=True, return_tensors="pt")
        return attnscope.check(model("roberta"), reader, text, inputs=words)

    yield "RoBERTa, words split before", other_spaces

    def dummy_row() -> Any:
        reader = tokenizer("bert")
        inputs = dict(reader(TEXTS, padding=True, return_tensors="pt"))
        inputs["input_ids"] = torch.cat([inputs["input_ids"], torch.ones_like(inputs["input_ids"][:1])])
        for part in ("attention_mask", "token_type_ids"):
            inputs[part] = torch.cat([inputs[part], torch.zeros_like(inputs[part][:1])])
        return attnscope.check(model("bert"), reader, inputs=inputs)

    yield "BERT, a row of nothing but pads, all hidden", dummy_row

    def other_fill() -> Any:
        reader = tokenizer("bert")
        inputs = dict(reader(TEXTS, padding=True, return_tensors="pt"))
        inputs["input_ids"] = inputs["input_ids"].masked_fill(inputs["attention_mask"] == 0, 0)
        return attnscope.check(model("bert"), reader, inputs=inputs)

    yield "BERT, padded with another id and hidden", other_fill

    def bool_mask() -> Any:
        reader = tokenizer("bert")
        inputs = dict(reader(TEXTS, padding=True, return_tensors="pt"))
        inputs["attention_mask"] = inputs["attention_mask"].bool()
        return attnscope.check(model("bert"), reader, inputs=inputs)

    yield "BERT, a mask of bool", bool_mask

    def padded_vocabulary() -> Any:
        return attnscope.check(model("llama", vocab_size=128), tokenizer("llama"), TEXT)

    yield "Llama, an embedding padded to 128 rows", padded_vocabulary

    def chat() -> Any:
        reader = tokenizer("llama")
        reader.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
        reader.eos_token = "<|im_end|>"
        reader.chat_template = "{{ bos_token }}{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
        return attnscope.check(
            model("llama", "LlamaForCausalLM", vocab_size=128), reader, messages=[{"role": "user", "content": TEXT}]
        )

    yield "Llama, a chat whose end token is not the configuration's", chat

    def falcon_defaults() -> Any:
        config = transformers.FalconConfig(vocab_size=97, hidden_size=24, num_hidden_layers=2, num_attention_heads=3)
        made = transformers.FalconForCausalLM(config).eval()
        return attnscope.check(made, tokenizer("llama", "left"), TEXTS)

    yield "Falcon, a small one whose configuration keeps the default special ids", falcon_defaults
    yield "a hand-written classifier", hand_written
    yield "a hand-written encoder that takes ids", by_another_name
    yield "a hand-written encoder that pools with the mask", pools_with_the_mask

    def choices() -> Any:
        reader = tokenizer("bert")
        inputs = {n: x[None] for n, x in reader(TEXTS, padding=True, return_tensors="pt").items()}
        return attnscope.check(model("bert", "BertForMultipleChoice"), reader, inputs=inputs)

    yield "BERT for multiple choice", choices

    def exactly_full(name: str, length: int) -> Callable[[], Any]:
        def run() -> Any:
            reader = tokenizer(MADE[name][0])
            inputs = reader("cat " * 90, truncation=True, max_length=length, return_tensors="pt")
            return attnscope.check(model(name), reader, inputs=inputs)

        return run

    yield "RoBERTa, 64 tokens in 66 positions", exactly_full("roberta", 64)
    yield "OPT, 66 tokens in 66 positions", exactly_full("opt", 66)
    yield "BERT, 66 tokens in 66 positions", exactly_full("bert", 66)

    def half(name: str, head: str, side: str) -> Callable[[], Any]:
        return lambda: attnscope.check(model(name, head).bfloat16(), tokenizer(MADE[name][0], side), TEXTS)

    yield "BERT in bfloat16", half("bert", "BertForSequenceClassification", "right")
    yield "Mixtral in bfloat16, left", half("mixtral", "MixtralForCausalLM", "left")
    yield "Llama in bfloat16, left", half("llama", "LlamaForSequenceClassification", "left")


class HandWritten(nn.Module):
    """nn.TransformerEncoder over ids; hides pads by itself."""

    def __init__(self, mean: bool = False) -> None:
        super().__init__()
        self.table = nn.Embedding(VOCABULARY, 24, padding_idx=1)
        layer = nn.TransformerEncoderLayer(24, 3, 53, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.out = nn.Linear(24, 5)
        self.mean = mean

    def get_input_embeddings(self) -> nn.Module:
        return self.table

    def encode(self, ids: Any, keep: Any) -> Any:
        x = self.encoder(self.table(ids), src_key_padding_mask=~keep)
        if not self.mean:
            return self.out(x[:, 0])
        return self.out((x * keep[..., None]).sum(1) / keep.sum(1, keepdim=True))


class ByMask(HandWritten):
    def forward(self, input_ids: Any, attention_mask: Any = None) -> Any:
        keep = torch.ones_like(input_ids, dtype=torch.bool) if attention_mask is None else attention_mask.bool()
        return self.encode(input_ids, keep)


class ByIds(HandWritten):
    def forward(self, ids: Any) -> Any:
        return self.encode(ids, ids != 1)


def hand_written() -> Any:
    torch.manual_seed(0)
    return attnscope.check(ByMask().eval(), tokenizer("bert"), TEXTS)


def pools_with_the_mask() -> Any:
    torch.manual_seed(0)
    return attnscope.check(ByMask(mean=True).eval(), tokenizer("bert"), TEXTS)


def by_another_name() -> Any:
    torch.manual_seed(0)
    return attnscope.check(ByIds().eval(), tokenizer("bert"), TEXTS)


# --- broken runs ----------------------------------------------------------------------------------------------------------


def broken() -> Iterator[tuple[str, str, Callable[[], Any]]]:
    """(what is wrong, the finding expected, the run)."""

    def ready(style: str, side: str = "right", texts: Any = TEXTS, **options: Any) -> dict[str, Any]:
        inputs = dict(tokenizer(style, side)(texts, padding=True, return_tensors="pt", **options))
        inputs.pop("token_type_ids", None)
        return inputs

    def on(
        name: str, head: str, change: Callable[[dict], Any], side: str = "right", text: Any = None, **how: Any
    ) -> Callable:
        def run() -> Any:
            style = MADE[name][0]
            inputs = ready(style, side, **how)
            change(inputs)
            return attnscope.check(model(name, head), tokenizer(style, side), text, inputs=inputs)

        return run

    def invert(inputs: dict) -> None:
        inputs["attention_mask"] = 1 - inputs["attention_mask"]

    def hide_all(inputs: dict) -> None:
        inputs["attention_mask"] = torch.zeros_like(inputs["attention_mask"])

    for name, head, side in (
        ("bert", "BertForSequenceClassification", "right"),
        ("roberta", "", "right"),
        ("llama", "LlamaForCausalLM", "left"),
        ("t5", "T5ForConditionalGeneration", "right"),
    ):
        yield f"mask inverted, {name}", "attention-mask-inverted", on(name, head, invert, side)
        yield f"mask all zero, {name}", "mask-hides-text", on(name, head, hide_all, side)
    yield "mask all zero, one text, GPT-2", "mask-hides-text", on("gpt2", "", hide_all, texts=[TEXT])

    def no_row(inputs: dict) -> None:
        inputs["attention_mask"][1] = 0

    yield "mask hides one row of two, BERT", "mask-hides-text", on("bert", "", no_row)

    def other_side(inputs: dict) -> None:
        inputs["attention_mask"] = inputs["attention_mask"].flip(1)

    yield "mask of the other side, BERT", "mask-hides-text", on("bert", "", other_side)
    yield "mask of the other side, Llama", "mask-hides-text", on("llama", "LlamaForCausalLM", other_side, "left")

    def other_rows(inputs: dict) -> None:
        inputs["attention_mask"] = inputs["attention_mask"].flip(0)

    yield "masks of rows exchanged, BERT", "mask-hides-text", on("bert", "BertForQuestionAnswering", other_rows)

    def short_mask(inputs: dict) -> None:
        inputs["attention_mask"][:, 3:] = 0

    yield "mask that ends after three tokens, BERT", "mask-hides-text", on("bert", "", short_mask)

    def additive(inputs: dict) -> None:
        inputs["attention_mask"] = (1.0 - inputs["attention_mask"]) * -10000.0

    yield "mask of 0 and -10000, BERT", "attention-mask-inverted", on("bert", "", additive)

    def no_mask(inputs: dict) -> None:
        del inputs["attention_mask"]

    for name, head in (
        ("bert", "BertForSequenceClassification"),
        ("t5", "T5ForSequenceClassification"),
        ("roberta", "RobertaForQuestionAnswering"),
    ):
        yield f"no mask, {name}", "pads-attended", on(name, head, no_mask)

    for name, head in (
        ("gpt2", "GPT2LMHeadModel"),
        ("llama", "LlamaForCausalLM"),
        ("opt", "OPTForCausalLM"),
        ("bloom", "BloomForCausalLM"),
        ("gpt-neox", "GPTNeoXForCausalLM"),
        ("mamba", "MambaForCausalLM"),
    ):

        def padded(name: str = name, head: str = head) -> Any:
            return attnscope.check(model(name, head), tokenizer(MADE[name][0]), TEXTS)

        yield f"right padding of a decoder, {name}", "right-padding", padded

    for name, head in (("gpt2", "GPT2LMHeadModel"), ("gpt-neo", "GPTNeoForSequenceClassification"), ("bert", "")):

        def left(name: str = name, head: str = head) -> Any:
            return attnscope.check(model(name, head), tokenizer(MADE[name][0], "left"), TEXTS)

        yield f"left padding and absolute positions, {name}", "left-padding-positions", left

    def zeros(inputs: dict) -> None:
        inputs["position_ids"] = torch.zeros_like(inputs["input_ids"])

    def arange(inputs: dict) -> None:
        inputs["position_ids"] = torch.arange(inputs["input_ids"].shape[1]).expand_as(inputs["input_ids"])

    def backwards(inputs: dict) -> None:
        arange(inputs)
        inputs["position_ids"] = inputs["position_ids"].flip(1)

    for name, head in (("bert", ""), ("gpt2", "GPT2LMHeadModel"), ("llama", "LlamaForCausalLM")):
        yield f"positions all zero, {name}", "position-ids", on(name, head, zeros, texts=[TEXT])
    yield "positions all zero in a batch, BERT", "position-ids", on("bert", "BertForSequenceClassification", zeros)
    yield "positions backwards, BERT", "position-ids", on("bert", "", backwards, texts=[TEXT])
    yield "positions that count the pads, GPT-2", "position-ids", on("gpt2", "GPT2LMHeadModel", arange, "left")
    yield "positions from 0, RoBERTa", "position-ids", on("roberta", "", arange)

    def plus_one(inputs: dict) -> None:
        inputs["input_ids"] = inputs["input_ids"] + inputs["attention_mask"]

    def rolled(inputs: dict) -> None:
        inputs["input_ids"] = inputs["input_ids"].roll(1, 1)

    def inner_plus_one(inputs: dict) -> None:
        inner = inputs["input_ids"] > 4
        inputs["input_ids"] = inputs["input_ids"] + inner

    yield "ids one too large, BERT", "", on("bert", "", plus_one, text=TEXTS)
    yield "ids of the words one too large, BERT", "ids-of-another-text", on("bert", "", inner_plus_one, text=TEXTS)
    yield "ids one too large, Qwen", "ids-of-another-text", on("qwen2", "", plus_one, "left", text=TEXTS)
    yield "ids rolled by one, Qwen", "ids-of-another-text", on("qwen2", "", rolled, text=[TEXT], texts=[TEXT])
    yield (
        "ids of another text, Llama",
        "ids-of-another-text",
        on("llama", "", lambda _: None, text=["a dog ran high", TEXT]),
    )
    yield (
        "rows exchanged, BERT",
        "ids-of-another-text",
        on(
            "bert",
            "",
            lambda x: x.update(input_ids=x["input_ids"].flip(0), attention_mask=x["attention_mask"].flip(0)),
            text=TEXTS,
        ),
    )
    yield (
        "the first token is missing, T5",
        "text-cut",
        on("t5", "", lambda x: x.update({n: v[:, 1:] for n, v in x.items()}), text=[TEXT], texts=[TEXT]),
    )

    def shifted_labels(inputs: dict) -> None:
        inputs["labels"] = inputs["input_ids"].roll(-1, 1)
        inputs["labels"][:, -1] = -100

    yield (
        "labels shifted before the model shifts them, Llama",
        "labels-shifted-twice",
        on("llama", "LlamaForCausalLM", shifted_labels, texts=[TEXT]),
    )

    def hidden_end(name: str, head: str, side: str, texts: Any, template: str = "t5") -> Callable[[], Any]:
        def run() -> Any:
            reader = tokenizer(template, side, pad="</s>")
            inputs = dict(reader(texts, padding=True, return_tensors="pt"))
            inputs["attention_mask"] = (inputs["input_ids"] != reader.pad_token_id).long()
            return attnscope.check(model(name, head, pad_token_id=3), reader, inputs=inputs)

        return run

    yield "pad = eos hides the real end, T5", "mask-hides-end", hidden_end("t5", "T5EncoderModel", "right", TEXTS)
    yield (
        "pad = eos hides the real end, Llama, one text",
        "mask-hides-end",
        hidden_end("llama", "LlamaForCausalLM", "left", [TEXT]),
    )
    yield (
        "pad = eos hides the end of a turn, Llama",
        "mask-hides-end",
        hidden_end("llama", "LlamaForCausalLM", "left", ["the cat sat </s> a dog ran </s>", "it"], "llama"),
    )

    for name in ("roberta", "camembert", "xlm-roberta", "mpnet", "longformer"):
        head = MADE[name][3].split()[0]
        yield (
            f"one token beyond the usable positions, {name}",
            "beyond-window",
            on(name, head, lambda _: None, texts=["cat " * 63]),
        )
        yield (
            f"beyond, in a padded batch, {name}",
            "beyond-window",
            on(name, head, lambda _: None, texts=["cat " * 63, "cat " * 70]),
        )

    def wrong_reader(name: str, head: str, style: str, **options: Any) -> Callable[[], Any]:
        return lambda: attnscope.check(model(name, head, **options), tokenizer(style), "a cat")

    yield (
        "a tokenizer of more entries than the embedding, BERT",
        "tokenizer-of-another-model",
        wrong_reader("bert", "", "bert", vocab_size=29),
    )
    yield (
        "a tokenizer with other special ids, Llama",
        "tokenizer-of-another-model",
        wrong_reader("llama", "LlamaForCausalLM", "bert", bos_token_id=91, eos_token_id=92, pad_token_id=93),
    )
    yield (
        "a tokenizer with other special ids, RoBERTa",
        "tokenizer-of-another-model",
        wrong_reader("roberta", "", "roberta", bos_token_id=50, eos_token_id=52, pad_token_id=31),
    )
    yield (
        "a tokenizer with the ends exchanged, T5",
        "tokenizer-of-another-model",
        wrong_reader("t5", "T5EncoderModel", "roberta", bos_token_id=3, eos_token_id=2, pad_token_id=0),
    )

    def demo_with_another() -> Any:
        made, _ = attnscope.load("demo")
        return attnscope.check(made, tokenizer("roberta"), TEXT)

    yield "the demo model with a small tokenizer", "tokenizer-of-another-model", demo_with_another

    def another_with_demo() -> Any:
        _, reader = attnscope.load("demo")
        return attnscope.check(model("llama", "LlamaForCausalLM", vocab_size=2311), reader, "a")

    yield "a small Llama with the demo tokenizer", "tokenizer-of-another-model", another_with_demo

    def careless(
        module: Any, query: Any, key: Any, value: Any, attention_mask: Any, scaling: Any = None, **_: Any
    ) -> Any:
        groups = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
        weights = (query @ key.mT * (scaling or query.shape[-1] ** -0.5)).softmax(-1)
        return (weights @ value).transpose(1, 2).contiguous(), weights

    def ignores(name: str, head: str) -> Callable[[], Any]:
        def run() -> Any:
            transformers.AttentionInterface.register("careless", careless)
            made = model(name, head)
            made.set_attn_implementation("careless")
            return attnscope.check(made, tokenizer(MADE[name][0]), TEXTS)

        return run

    for name, head in (
        ("bert", "BertForSequenceClassification"),
        ("roberta", "RobertaForQuestionAnswering"),
        ("bert", "BertForNextSentencePrediction"),
        ("electra", "ElectraForPreTraining"),
        ("llama", "LlamaForSequenceClassification"),
        ("bart", "BartForSequenceClassification"),
        ("qwen2", "Qwen2ForSequenceClassification"),
    ):
        yield f"attention that ignores the mask, {head}", "model-ignores-mask", ignores(name, head)

    class IgnoresMask(HandWritten):
        def forward(self, input_ids: Any, attention_mask: Any = None) -> Any:
            return self.encode(input_ids, torch.ones_like(input_ids, dtype=torch.bool))

    yield (
        "a hand-written encoder that ignores the mask",
        "model-ignores-mask",
        lambda: attnscope.check(IgnoresMask().eval(), tokenizer("bert"), TEXTS),
    )

    class MeanOverPads(HandWritten):
        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            return self.out(self.encoder(self.table(input_ids), src_key_padding_mask=attention_mask == 0).mean(1))

    yield (
        "a hand-written encoder whose mean counts the pads",
        "pads-counted",
        lambda: attnscope.check(MeanOverPads().eval(), tokenizer("bert"), TEXTS),
    )

    def drops() -> Any:
        return attnscope.check(model("bert", "BertForSequenceClassification").train(), tokenizer("bert"), TEXT)

    yield "dropout, BERT classifier", "dropout-active", drops

    def types_lost() -> Any:
        reader = tokenizer("bert")
        inputs = dict(reader(TEXT, "a dog ran", return_tensors="pt"))
        inputs["token_type_ids"] = torch.zeros_like(inputs["token_type_ids"])
        return attnscope.check(
            model("bert", "BertForNextSentencePrediction"), reader, TEXT, text_pair="a dog ran", inputs=inputs
        )

    yield "a pair without its token types, BERT", "pair-without-types", types_lost


# --- the report -----------------------------------------------------------------------------------------------------------


def outcome(run: Callable[[], Any]) -> tuple[list[str], str, float]:
    """(ids of the errors and warnings, the report or the exception, seconds of processor time)."""
    torch.manual_seed(0)
    started = time.process_time()
    try:
        diagnosis = run()
    except Exception:
        return ["(raises)"], traceback.format_exc(limit=-2), time.process_time() - started
    names = [found.name for found in diagnosis.findings if found.severity != "note"]
    if not diagnosis and not names:
        names = ["(not compared)"]
    return names, repr(diagnosis), time.process_time() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("only", nargs="*")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--report", action="store_true", help="print every report")
    wanted = parser.parse_args()
    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)

    def chosen(name: str) -> bool:
        return not wanted.only or any(part.lower() in name.lower() for part in wanted.only)

    accused, total, seconds = [], 0, 0.0
    for name, run in sound():
        if chosen(name):
            names, text, took = outcome(run)
            total, seconds = total + 1, seconds + took
            if names:
                accused.append(name)
                print(
                    f"SOUND {name}: {names}\n    "
                    + text.strip().replace("\n", "\n    ")[: 900 if wanted.report else 420]
                )
            elif wanted.report:
                print(f"sound {name}:\n    " + text.strip().replace("\n", "\n    "))
    missed, misnamed, count = [], [], 0
    for name, expected, run in broken():
        if chosen(name):
            names, text, took = outcome(run)
            count, seconds = count + 1, seconds + took
            if not names or names == ["(raises)"]:
                missed.append(name)
                print(
                    f"BROKEN {name}: {names}\n    "
                    + text.strip().replace("\n", "\n    ")[: 900 if wanted.report else 420]
                )
            elif expected and expected not in names:
                misnamed.append(name)
                print(f"broken {name}: {names}, expected {expected}")
            elif wanted.report:
                print(f"broken {name}: {names}\n    " + text.strip().replace("\n", "\n    "))
    print(
        f"sound: {total}, accused {len(accused)}; broken: {count}, caught {count - len(missed)}, named {count - len(missed) - len(misnamed)}; {seconds:.0f} s"
    )
    if not wanted.quick and not wanted.only:
        from results import write_section

        about = (
            "`python benchmarks/doctor_in_use.py` prints these figures: tiny models with random weights, many architectures × heads × "
            "ways of padding. Accused: an error or a warning on a sound run, or check raises. Caught: any error or warning. Before the "
            "heads were taken into account and the checks of what you give were written, the same runs gave 145 of 436 accused (most of them "
            "heads that pool) and 35 of 72 caught. The doctor was improved on these runs, so they do not measure it on models it has not met."
        )
        lines = [
            "## The doctor for a model in use",
            "",
            about,
            "",
            "| runs | number | accused | caught | named as expected |",
            "|-|-|-|-|-|",
            f"| sound | {total} | {len(accused)} | – | – |",
            f"| broken | {count} | – | {count - len(missed)} | {count - len(missed) - len(misnamed)} |",
        ]
        write_section("doctor-in-use", lines)


if __name__ == "__main__":
    main()
    sys.stdout.flush()
