"""What a trace that is made to be shown keeps, where nobody says what."""

STEPS = frozenset({"x", "pre_rotary", "projections"})  # what the steps level needs to begin at x
KEEP_UP_TO = 1024  # tokens
STREAM_MOST = 16e6  # bytes


class ByItself(frozenset[str]):
    """A `keep` that gives way: what the steps level needs is left out of texts of more than KEEP_UP_TO tokens, unless `long`; a stream
    of more than STREAM_MOST bytes is dropped, unless `whole`."""

    long: bool
    whole: bool

    def __new__(cls, steps: str = "head", whole: bool = False) -> "ByItself":
        """`steps`: "head", "all" or "none", as of show. `whole`: the view opens on the stream."""
        made = super().__new__(cls, {"stream"} | (STEPS if steps in ("head", "all") else frozenset()))
        made.long, made.whole = steps == "all", whole
        return made

    def of(self, tokens: int) -> frozenset[str]:
        """What is kept of a text."""
        return frozenset(self if self.long or tokens <= KEEP_UP_TO else self - STEPS)
