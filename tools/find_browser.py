"""Print the path of a Chromium that starts: $ATTNSCOPE_BROWSER, one on PATH, or Playwright's own.

With --install, one is fetched where there is none: by apt-get as root, or by Playwright. Tests and benchmarks
that need a browser take what this finds; finding none is an error that says what to do, never a skipped test.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator

# First the one without windows: a page in it takes two thirds of the time.
NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
MAC = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"
HELP = """no browser found. The tests of the page need a Chromium or Chrome. Any of these helps:
  put `chromium` or `google-chrome` on PATH (Debian: apt-get install chromium-headless-shell, or chromium), or
  download Playwright's own:  .venv/bin/python -m playwright install --with-deps chromium, or
  name yours:  ATTNSCOPE_BROWSER=/path/to/chrome make test"""


def starts(path: str) -> bool:
    """Whether it runs at all: a download whose system libraries are missing does not."""
    try:
        return subprocess.run([path, "--version"], capture_output=True, timeout=60).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def candidates() -> Iterator[str]:
    for name in NAMES:
        if path := shutil.which(name):
            yield path
    yield MAC
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return
    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    yield path


def find() -> str | None:
    if chosen := os.environ.get("ATTNSCOPE_BROWSER"):
        return chosen if starts(chosen) else None
    return next(filter(starts, candidates()), None)


def install() -> str | None:
    """Each way in turn, until one gives a browser that starts. What they print goes to stderr."""
    playwright = [[sys.executable, "-m", "playwright", "install", "--no-shell", "chromium"]]
    ways = [("Playwright's own download", playwright)]
    if hasattr(os, "geteuid") and os.geteuid() == 0 and shutil.which("apt-get"):
        update = ["apt-get", "update", "--quiet"]
        apt = ["apt-get", "install", "--yes", "--quiet", "--no-install-recommends"]
        ways.insert(0, ("apt-get", [update, [*apt, "chromium-headless-shell"]]))
        ways.append(("apt-get once more", [[*apt, "chromium"]]))
    for name, commands in ways:
        print(f"==> No browser found: trying {name} (a minute or two)", file=sys.stderr, flush=True)
        for command in commands:
            subprocess.run(command, stdin=subprocess.DEVNULL, stdout=sys.stderr, check=False)
        if path := find():
            return path
    return None


def main() -> None:
    path = find()
    if path is None and (chosen := os.environ.get("ATTNSCOPE_BROWSER")):
        sys.exit(f"Error: ATTNSCOPE_BROWSER={chosen} does not start.")
    if path is None and "--install" in sys.argv[1:]:
        path = install()
    if path is None:
        sys.exit(f"Error: {HELP}")
    print(path)


if __name__ == "__main__":
    main()
