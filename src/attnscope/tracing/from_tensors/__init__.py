"""Tensors that people give, checked and made into sites: q, k and v (Trace.from_qkv), or weights
(from_attentions).
"""

from attnscope.tracing.from_tensors.attentions import read_attentions as read_attentions
from attnscope.tracing.from_tensors.qkv import read_qkv as read_qkv
