"""check_site.py FOLDER: is the built site whole, and does it stand on its own?

Every link to a page, an anchor or a file leads somewhere, and no script, style, image, font or frame comes from elsewhere, in the
pages, in what the pages frame and in the styles. Links to other sites are listed, not followed.
"""

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

# What a browser fetches by itself when it shows a page: (element, attribute).
FETCHED = {
    *((tag, "src") for tag in "script img source iframe video audio embed input track".split()),
    *((tag, "href") for tag in "link image use".split()),
    *((tag, "srcset") for tag in "img source".split()),
    ("video", "poster"),
    ("object", "data"),
}
IDLE = set("canonical next prev index search author license genindex".split())  # <link rel=…> fetches none of these
ELSEWHERE = re.compile(r"^(https?:)?//", re.I)
IN_STYLE = re.compile(r"(?:url\(|@import)\s*[\"']?((?:https?:)?//[^\"')\s;]+)", re.I)


@dataclass
class Page(HTMLParser):
    """What one page has: ids, links, and what it would fetch."""

    ids: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    fetched: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self._in_style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.ids |= {given[name] for name in ("id", "name") if name in given and (name == "id" or tag == "a")}
        self._in_style = tag == "style"
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        idle = tag == "link" and set(given.get("rel", "").split()) <= IDLE
        for name, value in given.items():
            if (tag, name) in FETCHED and not idle:
                self.fetched += (
                    [part.split()[0] for part in value.split(",") if part.split()] if name == "srcset" else [value]
                )
        self.fetched += IN_STYLE.findall(given.get("style", ""))
        if "srcdoc" in given:
            self.fetched += [address for address in read(given["srcdoc"]).fetched if ELSEWHERE.match(address)]

    handle_startendtag = handle_starttag

    def handle_data(self, data: str) -> None:
        if self._in_style:
            self.fetched += IN_STYLE.findall(data)

    def handle_endtag(self, tag: str) -> None:
        self._in_style = False


def read(text: str) -> Page:
    page = Page()
    page.feed(text)
    page.close()
    return page


def faults(site: Path) -> tuple[list[str], list[str]]:
    """(what is wrong, addresses elsewhere that pages link to)."""
    pages = {path: read(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}
    wrong = [] if pages else [f"{site} holds no page"]
    elsewhere: set[str] = set()
    for path, page in pages.items():
        name = path.relative_to(site)
        for address in page.fetched:
            if ELSEWHERE.match(address):
                wrong.append(f"{name}: fetches {address}")
            elif not address.startswith(("data:", "blob:", "#")) and not _target(path, address).exists():
                wrong.append(f"{name}: {address} is not there")
        for link in page.links:
            if urlsplit(link).scheme or ELSEWHERE.match(link):
                elsewhere.add(link)
            else:
                wrong += [f"{name}: {fault}" for fault in _dangling(path, link, pages)]
    for path in site.rglob("*.css"):
        wrong += [f"{path.relative_to(site)}: fetches {a}" for a in IN_STYLE.findall(path.read_text(encoding="utf-8"))]
    return wrong, sorted(elsewhere)


def _target(page: Path, address: str) -> Path:
    path = unquote(urlsplit(address).path)
    target = (page.parent / path).resolve() if path else page.resolve()
    return target / "index.html" if target.is_dir() else target


def _dangling(page: Path, link: str, pages: dict[Path, Page]) -> Iterator[str]:
    target, anchor = _target(page, link), unquote(urlsplit(link).fragment)
    known = {path.resolve(): found for path, found in pages.items()}
    if not target.exists():
        yield f"{link} leads nowhere"
    elif anchor and target in known and anchor not in known[target].ids:
        yield f"{link}: the page has no #{anchor}"


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("Error: check_site.py takes one argument, the folder of the built site.")
    wrong, elsewhere = faults(Path(sys.argv[1]))
    for address in elsewhere:
        print(f"elsewhere: {address}")
    if wrong:
        sys.exit("\n".join(f"Error: {fault}" for fault in wrong))


if __name__ == "__main__":
    main()
