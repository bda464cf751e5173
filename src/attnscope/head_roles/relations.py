"""The relations of Universal Dependencies in words."""

from attnscope.head_roles.cases import TO_HEAD, Task

# https://universaldependencies.org/u/dep: of each relation the dependent and its head. Subtypes (nsubj:pass) take their type's.
_WORDS = {
    "nsubj": ("a subject", "its verb"),
    "obj": ("an object", "its verb"),
    "iobj": ("an indirect object", "its verb"),
    "csubj": ("a clausal subject", "its verb"),
    "ccomp": ("a clause", "the verb that it completes"),
    "xcomp": ("an open clause", "the verb that it completes"),
    "obl": ("an oblique noun", "its verb"),
    "vocative": ("a name that is called", "its clause"),
    "expl": ("an expletive", "its verb"),
    "dislocated": ("a dislocated phrase", "its clause"),
    "advcl": ("an adverbial clause", "what it modifies"),
    "advmod": ("an adverb", "what it modifies"),
    "discourse": ("an interjection", "its clause"),
    "aux": ("an auxiliary", "its verb"),
    "cop": ("a copula", "its predicate"),
    "mark": ("a subordinating word", "its clause"),
    "nmod": ("a noun that modifies", "its noun"),
    "appos": ("an apposition", "its noun"),
    "nummod": ("a number", "its noun"),
    "acl": ("a clause", "the noun that it modifies"),
    "amod": ("an adjective", "its noun"),
    "det": ("a determiner", "its noun"),
    "clf": ("a classifier", "its number"),
    "case": ("a preposition", "its noun"),
    "conj": ("a conjunct", "the first one"),
    "cc": ("a conjunction", "its conjunct"),
    "fixed": ("a word of a fixed phrase", "its first word"),
    "flat": ("a word of a name", "its first word"),
    "list": ("an item of a list", "its first item"),
    "parataxis": ("a clause beside it", "the main clause"),
    "compound": ("a part of a compound", "its head"),
    "orphan": ("an orphan", "its head"),
    "goeswith": ("a split-off part", "its word"),
    "reparandum": ("a slip", "what repairs it"),
    "punct": ("punctuation", "its clause"),
    "dep": ("a dependent", "its head"),
}


def relation_task(relation: str, direction: str) -> Task:
    """A relation in one direction, as a task."""
    dependent, head = _WORDS.get(relation.partition(":")[0], (f"a word that is {relation}", "its head"))
    kind = f" ({relation})"
    pair = (dependent, head) if direction == TO_HEAD else (_owner(head), _owned(dependent))
    return Task(relation, direction, "relation", f"links {pair[0]} to {pair[1]}{kind}")


def _owner(words: str) -> str:
    """ "its verb" as what one begins with: "a verb"."""
    return "a " + words.removeprefix("its ") if words.startswith("its ") else words


def _owned(words: str) -> str:
    """ "a subject" as what belongs to it: "its subject"."""
    for article in ("an ", "a "):
        if words.startswith(article):
            return "its " + words.removeprefix(article)
    return words
