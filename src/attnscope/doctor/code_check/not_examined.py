"""What the report lists as not examined, with what to do so that it is; named fields as in the registry of findings."""

NOTHING = {  # why the code could not be compared with the reference: the headline says it where nothing else was
    "own-queries": "it {shapes}; {unused} may be queries of its own. Check the function inside it",
    "pooled": "it {shapes}, which has no output for each token. Check the function inside it",
    "of-another-width": "it {shapes}, and no reading of its parameters as projections explains that. Check the function inside it",
    "as-given": "it returns as many numbers for each token as it got, and no reading of its parameters as projections "
    "explains that. Check the function inside it",
    "calling": "no way of calling it was found ({error}). Check a function of (query, key, value) or of x that calls it",
    "guessed": "it was run with {names} guessed, and no recipe reproduces it. Check a function of (query, key, value) or of x "
    "that calls it",
    "random": "two runs differ, with every dropout switched off too",
    "of-x": "it takes {count} and not query, key and value, and no recipe reproduces it. What projects it is not to be seen: check "
    "a module, or a function of (query, key, value)",
    "projections": "no reading of its parameters as projections reproduces it{unused}; like= a reference with the same weights "
    "makes it possible",
    "own-rotary": "it turns queries and keys in a way of its own (rotary); like= a reference makes it possible",
    "no-projections": "no query, key and value projections were found in it. Name them so that q, k and v can be told apart, or check "
    "the function inside it",
    "own-fault": "the doctor itself failed ({error}), which says nothing of the code; please report it",
    "another-kind": "it is not scaled dot-product attention ({reason})",
    "gpu": "it needs a GPU",
}

TEXTS = {
    # masks
    "masks": "masks (rows 4 to 7, 9, 10, 12): it takes none and is not causal",
    "own-scores": "masks (rows 4 to 7, 9, 10, 12): its scores are more than q · k, and masks are tried where the reference gives all of them",
    "padding": "padding and empty rows (rows 7, 12): it takes no mask",
    "flag-raises": "{name}=True: it raises {error}",
    "flag-unknown": "{name}=True: what it does then fits no known recipe",
    "mask-unknown": "argument {name!r}: it changes the output, but as no kind of mask known here",
    "mask-idle": "argument {name!r}: the output is the same with every kind of mask known here",
    "mask-refused": "argument {name!r}: it accepted no kind of mask known here ({error})",
    "mask-elsewhere": "argument {name!r}: it changes nothing of the attention that was compared, and something beside it",
    "mask-untried": "argument {name!r}",
    # like=
    "like": "fused weights in another layout, heads sliced after the output projection (rows 15, 21): pass like= a reference "
    "with the same weights",
    "like-no-output": "like=: it gives no output to compare with ({error})",
    # cached=
    "cached-module": "a key/value cache (row 18): pass cached=True, or a function that makes an empty cache",
    "cached-function": "a key/value cache (row 18): pass cached=True, or a function for the last queries over all keys",
    "cached-one-sequence": "cached= (row 18): it takes one sequence, so the last queries cannot be passed over all keys",
    "cached-wanted": "cached=: pass True, or a function of (query, key, value) for the last queries",
    "cached-failed": "cached= (row 18): {error}",
    "cached-unnamed": "cached= (row 18): its forward takes no cache that its name shows (past_key_value, cache, layer_past)",
    "cached-apart": "cached= (row 18): a module that takes query, key and value apart is not run with its cache; check it "
    "through a wrapper of (x, cache)",
    "cached-nothing-back": "cached= (row 18): it returned nothing to pass as {name!r}; pass cached= a function that makes an "
    "empty cache",
    # model=
    "model": "left padding without position ids, masks of several texts (rows 20, 23): pass model= the module or function of "
    "(ids or embeddings, mask) that uses it",
    "model-wanted": "model= (rows 20, 23): pass a module or a function of (ids or embeddings, mask)",
    "model-no-mask": "model= (rows 20, 23): it takes no argument called a mask; wrap it in a function of (x, attention_mask)",
    "model-fails": "model= (rows 20, 23): it runs on neither ids nor embeddings with {name!r} ({error})",
    "model-left-padding": "left padding (row 20): {error}",
    "model-right-padding": "left padding (row 20): two texts already come out differently than each alone",
    "model-two-texts": "two texts with two masks (row 23): {error}",
}
