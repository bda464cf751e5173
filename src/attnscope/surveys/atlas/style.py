"""What the pages of an atlas share: colours of both themes, type, and the frame of a page with its policy."""

import html

from attnscope.render.figures.colours import PAGE
from attnscope.render.page.html import sha256


def _colours(theme: str) -> str:
    return "".join(f"--{name}:{colour};" for name, colour in PAGE[theme].items())


BASE = (
    f"""
:root {{ color-scheme: light dark; {_colours("light")} }}
@media (prefers-color-scheme: dark) {{ :root {{ {_colours("dark")} }} }}
"""
    """
* { box-sizing: border-box; }
[hidden] { display: none !important; }
body { margin: 0 auto; max-width: 84rem; padding: 1.75rem 1.5rem 3rem; background: var(--ground); color: var(--text);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { margin: 0; font-size: 1.5rem; line-height: 1.25; letter-spacing: -.01em; }
h2 { margin: 2.5rem 0 .5rem; font-size: 1.1rem; }
p { margin: .2rem 0; }
.lead { max-width: 52rem; color: var(--muted); }
a { color: inherit; text-underline-offset: 3px; }
.num { font-variant-numeric: tabular-nums; }
:focus-visible { outline: 2px solid var(--text); outline-offset: 2px; border-radius: 2px; }
.badge, .rests { display: inline-block; padding: 0 .35em; border-radius: 2px; font-size: .75rem; line-height: 1.25rem; white-space: nowrap; }
.badge { background: var(--text); color: var(--ground); font-weight: 600; }
.rests { border: 1px solid var(--strong-line); line-height: 1.15rem; color: var(--muted); }
@media (max-width: 560px) { body { padding: 1.1rem 1rem 2.5rem; } h1 { font-size: 1.25rem; } }
"""
)


def page(title: str, body: str, style: str, script: str = "", data: str = "") -> str:
    """A whole page that opens from disk: its policy allows this style and this script, by hash. `data`: JSON, safe in HTML."""
    policy = f"default-src 'none'; style-src '{sha256(style)}'; base-uri 'none'; form-action 'none'"
    policy += f"; script-src '{sha256(script)}'" if script else ""
    block = f'<script type="application/json" id="data">{data}</script>\n' if data else ""
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{html.escape(title)}</title>\n<style>{style}</style>\n'
        f"</head>\n<body>\n{body}\n{block}{f'<script>{script}</script>' if script else ''}\n</body>\n</html>\n"
    )


def badge(name: str, rests: bool, sentence: str) -> str:
    """A role as a badge."""
    return f'<span class="{"rests" if rests else "badge"}" title="{html.escape(sentence)}">{html.escape(name)}</span>'
