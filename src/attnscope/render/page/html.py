"""The page as one file: the app, the payload, and a policy that allows nothing else."""

import base64
import hashlib
import html
import json
import zlib
from typing import Any

import numpy as np

from attnscope.render.figures.colours import PAGE
from attnscope.render.page.assets import asset
from attnscope.views.view import Block, View

LIGHT, DARK = PAGE["light"], PAGE["dark"]
STYLE = (
    f"html,body{{margin:0;min-height:100%}}body{{background:{LIGHT['ground']}}}"
    f"@media(prefers-color-scheme:dark){{body{{background:{DARK['ground']}}}}}"
    "noscript,[data-attnscope]>p{display:block;margin:2rem;font:16px/1.5 system-ui,sans-serif}"
    # shown late, so that it does not appear while a browser reads a whole page; hidden where scripts are off
    "[data-attnscope]>p{animation:late 4s step-end}@keyframes late{from{visibility:hidden}}"
    "@media(scripting:none){[data-attnscope]>p{display:none}}"
    f"@media(prefers-color-scheme:dark){{noscript,[data-attnscope]>p{{color:{DARK['text']}}}}}"
)
# The script removes it.
UNDRAWN = (
    "This page should draw attention with the script inside it. "
    "If this line stays, the file is damaged or cut short, or scripts are off."
)


def page(view: View) -> str:
    """The whole view as HTML that needs no network and no kernel.

    Its policy allows the one script and the one style in it, by hash. Tokens stand in JSON or base64, never in markup.
    """
    script = asset("page.js")
    policy = (
        f"default-src 'none'; script-src '{sha256(script)}'; style-src '{sha256(STYLE)}'; "
        "worker-src blob:; img-src data: blob:; base-uri 'none'; form-action 'none'"
    )
    title = html.escape(f"attnscope · {view.trace.model.name or 'attention'}")
    # The app draws the blocks above it while the browser reads those below.
    first, *rest = blocks = _blocks(view)
    promised = _promised("", blocks)
    above, below = [_block(first)], [_block(block) for block in rest]
    if view.pair is not None:
        first, *rest = others = _blocks(view.other)
        promised += _promised("-b", others)
        above += [_block(first, "b"), _block(Block(view.pair.difference, (), 1), "difference")]
        below += [_block(block, "b") for block in rest]
    lines = "\n".join([*above, f"<script>{script}</script>", *below])
    return (
        "<!doctype html>\n"
        '<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        "<noscript>This page draws attention with a script that is inside it; allow scripts to see it.</noscript>\n"
        f"<div data-attnscope{promised}><p>{UNDRAWN}</p></div>\n"
        f'<script type="application/json" data-attnscope-state>{json_in_html(view.traits())}</script>\n'
        f"{lines}\n</body>\n</html>\n"
    )


def frame(view: View, height: int = 900) -> str:
    """The page in a sandboxed iframe; and for sites that remove frames, the sentence and a plain table."""
    inner = html.escape(page(view), quote=True)
    return (
        "<style>.attnscope-frame + .attnscope-plain{display:none}</style>"
        f'<iframe class="attnscope-frame" sandbox="allow-scripts allow-downloads" srcdoc="{inner}" title="attnscope" '
        f'width="100%" height="{height}" style="border:0"></iframe>'
        f'<div class="attnscope-plain">{plain_table(view)}</div>'
    )


def plain_table(view: View, rows: int = 12) -> str:
    """The sentence and the strongest keys of the view's query (or the strongest parts of the stream), as HTML without script or style: what GitHub shows."""
    from attnscope.views.sentences.columns import NUMBERS, TITLES
    from attnscope.views.sentences.sentence import stream_shown, strongest, title
    from attnscope.views.sentences.stream import strongest_parts

    column = stream_shown(view)
    titles, cells = (
        [TITLES[name] for name in NUMBERS],
        [[getattr(row, name) for name in NUMBERS] for row in strongest(view, rows)],
    )
    if column is not None:
        titles, cells = strongest_parts(column, rows)
    body = "".join(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in cells)
    heads = "".join(f"<th>{html.escape(one)}</th>" for one in titles)
    return f"<p>{html.escape(title(view))}</p><table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"


def _block(block: Block, side: str = "") -> str:
    encoded = base64.b64encode(pack(block.data, block.stride)).decode()
    name = f' data-attnscope-side="{side}"' if side else ""
    shows = f' data-pictures="{block.shows}"' if block.pictures else ""
    return (
        f'<script type="application/octet-stream" data-attnscope-block{name} data-stride="{block.stride}" data-sites="{block.holds}"'
        f"{shows}>{encoded}</script>"
    )


def _blocks(view: View) -> tuple[Block, ...]:
    """Those of a view, and behind them the pictures of what they leave out."""
    pictures = view.pictures
    return view.blocks if pictures is None else (*view.blocks, pictures)


def _promised(side: str, blocks: tuple[Block, ...]) -> str:
    """What all blocks hold, for the root element: the app starts before the browser has read all of them."""
    sites = " ".join(block.holds for block in blocks if block.sites)
    pictures = " ".join(block.shows for block in blocks if block.pictures)
    return f' data-sites{side}="{sites}"' + (f' data-pictures{side}="{pictures}"' if pictures else "")


def pack(payload: bytes, stride: int) -> bytes:
    """zlib of the payload with its data section byte-shuffled: bytes of equal significance compress better side by side."""
    start = 8 + int.from_bytes(payload[:8], "little")
    data = payload[start:] + b"\0" * (-(len(payload) - start) % stride)
    shuffled = np.frombuffer(data, np.uint8).reshape(-1, stride).T.tobytes()
    return deflate(payload[:start], shuffled, zlib.Z_RLE if stride == 1 else zlib.Z_HUFFMAN_ONLY)


def deflate(text: bytes, numbers: bytes, strategy: int) -> bytes:
    """Both as one zlib stream: text by repeated strings, numbers by the frequency of their bytes, and in pictures by runs.

    Bytes of activations hardly ever repeat in sequence: to look for that takes most of deflate's time and gains nothing.
    """
    words = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    bare = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS, strategy=strategy)
    parts = [words.compress(text), words.flush(zlib.Z_FULL_FLUSH), bare.compress(numbers), bare.flush()]
    check = zlib.adler32(numbers, zlib.adler32(text)).to_bytes(4, "big")
    return b"".join([b"\x78\x9c", *parts, check])


def sha256(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def json_in_html(value: Any) -> str:
    """JSON that is safe inside a script element, whatever its strings are."""
    text = json.dumps(value, ensure_ascii=False)
    return (
        text.replace("<", "\\u003c")
        .replace(">", "\\u003e")
        .replace("&", "\\u0026")
        .replace("\u2028", "\\u2028")
        .replace("\u2029", "\\u2029")
    )
