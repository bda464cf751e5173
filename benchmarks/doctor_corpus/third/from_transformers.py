"""Attention modules of transformers, small, with weights of their own."""

import torch
import transformers
from torch import nn

SMALL = {"hidden_size": 24, "num_attention_heads": 4, "num_hidden_layers": 1, "intermediate_size": 40, "vocab_size": 50}


def _first(config: str, model: str, kind: str, **sizes) -> nn.Module:
    """The first module of this class in a small model, with norms and biases that are not constant."""
    made = getattr(transformers, model)(getattr(transformers, config)(**(sizes or SMALL), attn_implementation="eager"))
    part = next(m for m in made.modules() if type(m).__name__ == kind)
    with torch.no_grad():
        for p in part.parameters():
            p.add_(0.2 * torch.randn_like(p))
    return part


def llama():
    return _first("LlamaConfig", "LlamaModel", "LlamaAttention", **SMALL, num_key_value_heads=2)


def mistral():
    return _first("MistralConfig", "MistralModel", "MistralAttention", **SMALL, num_key_value_heads=2, head_dim=6)


def qwen3():
    return _first("Qwen3Config", "Qwen3Model", "Qwen3Attention", **SMALL, num_key_value_heads=2, head_dim=8)


def gemma():
    return _first("GemmaConfig", "GemmaModel", "GemmaAttention", **SMALL, num_key_value_heads=1, head_dim=6)


def neox():
    return _first("GPTNeoXConfig", "GPTNeoXModel", "GPTNeoXAttention")


def bert_self():
    return _first("BertConfig", "BertModel", "BertSelfAttention")


def bert():
    return _first("BertConfig", "BertModel", "BertAttention")


def roberta_self():
    return _first("RobertaConfig", "RobertaModel", "RobertaSelfAttention")


def electra_self():
    return _first("ElectraConfig", "ElectraModel", "ElectraSelfAttention", **SMALL, embedding_size=24)


def gpt2():
    return _first("GPT2Config", "GPT2Model", "GPT2Attention", n_embd=24, n_head=4, n_layer=1, vocab_size=50)


def distilbert():
    sizes = {"dim": 24, "n_heads": 4, "n_layers": 1, "hidden_dim": 40, "vocab_size": 50}
    return _first("DistilBertConfig", "DistilBertModel", "DistilBertSelfAttention", **sizes)


def vit():
    return _first("ViTConfig", "ViTModel", "ViTAttention", **SMALL, image_size=8, patch_size=4)


def clip():
    return _first("CLIPTextConfig", "CLIPTextModel", "CLIPAttention")


def opt():
    return _first("OPTConfig", "OPTModel", "OPTAttention", **SMALL, ffn_dim=40, word_embed_proj_dim=24)


def bart():
    sizes = {"d_model": 24, "encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_layers": 1}
    more = {"decoder_layers": 1, "encoder_ffn_dim": 40, "decoder_ffn_dim": 40, "vocab_size": 50}
    return _first("BartConfig", "BartModel", "BartAttention", **sizes, **more)


def whisper():
    sizes = {"d_model": 24, "encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_layers": 1}
    more = {"decoder_layers": 1, "encoder_ffn_dim": 40, "decoder_ffn_dim": 40, "vocab_size": 50, "num_mel_bins": 8}
    tokens = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}
    return _first("WhisperConfig", "WhisperModel", "WhisperAttention", **sizes, **more, **tokens)


def t5():
    sizes = {"d_model": 24, "d_kv": 6, "num_heads": 4, "num_layers": 1, "d_ff": 40, "vocab_size": 50}
    return _first("T5Config", "T5EncoderModel", "T5Attention", **sizes)


def albert():
    return _first("AlbertConfig", "AlbertModel", "AlbertAttention", **SMALL, embedding_size=24)


def phi():
    return _first("PhiConfig", "PhiModel", "PhiAttention", **{**SMALL, "hidden_size": 32})


def beit_self():
    return _first("BeitConfig", "BeitModel", "BeitAttention", **SMALL, image_size=8, patch_size=4)
