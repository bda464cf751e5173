"""English words that carry grammar rather than content: articles, pronouns, prepositions, conjunctions, auxiliaries."""

_WORDS = frozenset(
    """
    a an the this that these those some any each every no such both either neither all another other
    i you he she it we they me him her us them my your his its our their mine yours hers ours theirs
    who whom whose which what when where why how there here
    and or but nor so yet if because although though while since unless until whether than as
    of in on at to by for from with without within into onto over under about above below between through during before
    after against among around across along near off out up down
    is am are was were be been being do does did has have had having can could may might must shall should will would
    not also very too just only then well yes ok okay sure
    """.split()
)


def is_function_word(word: str) -> bool:
    """Whether an English word is one of these, whatever its capitals. In other languages nearly nothing is."""
    return word.strip().casefold() in _WORDS
