"""The page around the app, and the page that asks for the token. Neither holds a text or a token."""

import html
from collections.abc import Sequence
from typing import Any

from attnscope.render.page.assets import asset
from attnscope.render.page.html import DARK, LIGHT, STYLE, json_in_html, sha256

_DOOR_STYLE = (
    "body{margin:12vh auto;max-width:34rem;padding:0 1.5rem;font:16px/1.5 system-ui,sans-serif;"
    f"color:{LIGHT['text']};background:{LIGHT['ground']}}}"
    "input,button{font:inherit;padding:.3em .6em}label{display:block;margin:1.2em 0 .3em}input{width:100%;box-sizing:border-box}"
    "button{margin-top:.8em}"
    f"@media(prefers-color-scheme:dark){{body{{background:{DARK['ground']};color:{DARK['text']}}}html{{color-scheme:dark}}}}"
)
_DOOR_SCRIPT = "document.forms[0].action=location.hash"  # the place in the address survives the form
_SCRIPTS = ("edits.js", "serve.js")
_COMMON = "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
DOOR_POLICY = f"default-src 'none'; style-src '{sha256(_DOOR_STYLE)}'; script-src '{sha256(_DOOR_SCRIPT)}'; {_COMMON}"


def policy() -> str:
    """What the page may do: run its two scripts and its style, by hash; send requests to this server; nothing else."""
    scripts = " ".join(f"'{sha256(asset(name))}'" for name in _SCRIPTS)
    return (
        f"default-src 'none'; script-src {scripts}; style-src '{sha256(STYLE)}'; connect-src 'self'; "
        f"worker-src blob:; img-src data: blob:; {_COMMON}"
    )


def page(settings: dict[str, Any]) -> str:
    """The page; `settings` are the models' names and the text that it opens with."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>attnscope</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        "<noscript>This page draws attention with a script that is inside it; allow scripts to see it.</noscript>\n"
        "<div data-attnscope-ask></div>\n<div data-attnscope></div>\n"
        f'<script type="application/json" data-attnscope-serve>{json_in_html(settings)}</script>\n'
        f"{''.join(f'<script>{asset(name)}</script>' for name in _SCRIPTS)}\n</body>\n</html>\n"
    )


def door(message: str, query: Sequence[tuple[str, str]]) -> str:
    """The page that asks for the token and keeps the rest of the address.

    A browser sends no cookie when you follow a link from another site: an empty field and a click are enough then.
    """
    kept = "".join(
        f'<input type="hidden" name="{html.escape(name)}" value="{html.escape(value)}">' for name, value in query
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>attnscope: token</title>\n<style>{_DOOR_STYLE}</style>\n</head>\n<body>\n<main>\n<h1>attnscope</h1>\n"
        f'<p role="alert">{html.escape(message[0].upper() + message[1:])}</p>\n<form method="get">{kept}\n'
        '<label for="token">Token (leave it empty if you opened that address in this browser before)</label>\n'
        '<input id="token" name="token" type="password" autocomplete="off">\n<button>open</button>\n</form>\n</main>\n'
        f"<script>{_DOOR_SCRIPT}</script>\n</body>\n</html>\n"
    )
