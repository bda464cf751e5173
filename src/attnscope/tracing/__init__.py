"""What a forward pass left behind, as data: a Trace holds Sites, and a site computes what you ask for."""

from attnscope.tracing.biases import BiasRule
from attnscope.tracing.masks import MaskRule
from attnscope.tracing.output_projection import Projection
from attnscope.tracing.receipts import Receipt, SiteReceipt
from attnscope.tracing.site import Site
from attnscope.tracing.steps import Step
from attnscope.tracing.tokens import Tokens
from attnscope.tracing.trace import ModelInfo, Trace

Link = Step  # its earlier name

__all__ = [
    "BiasRule",
    "Link",
    "MaskRule",
    "ModelInfo",
    "Projection",
    "Receipt",
    "Site",
    "SiteReceipt",
    "Step",
    "Tokens",
    "Trace",
]
