"""The number that stands for a masked score, and rows in which every score is masked."""

from attnscope.doctor.findings.entry import Entry
from attnscope.doctor.findings.mask_argument import CODE, MASKING
from attnscope.doctor.findings.references import HALF, SDPA

PLACE = "the sentinel of the mask"
LOWEST = "torch.finfo(scores.dtype).min"
IN_HALF = "torch.finfo(scores.dtype).min as the sentinel, with masked_fill and not by adding; or compute the softmax in float32"
FINITE = "masked scores are finite numbers of the type that the code computes in"

ENTRIES = (
    Entry(
        id="sentinel-within-reach",
        severity="error",
        row=6,
        what="masked scores are set to a number that ordinary scores reach, such as -10",
        title="masked scores are set to {number:g}, which ordinary scores reach",
        why="A sharp head has scores of that size, and masked keys then take a share of the weight.",
        cure="-inf, or torch.finfo(scores.dtype).min",
        evidence="with large scores masked keys get weight",
        invariant="a masked key has a weight of exactly 0, whatever the scores",
        place=PLACE,
        wrong=CODE.replace(LOWEST, "-20.0"),
        right=("-20.0", LOWEST),
        reference=SDPA,
    ),
    Entry(
        id="sentinel-too-small",
        severity="warning",
        row=6,
        what="masked scores are set to a number that real scores can pass, such as -1e4",
        title="masked scores are set to {number:g}, which real scores can pass",
        why="Where every allowed score of a row is below the sentinel, masked keys win the softmax.",
        cure="-inf, or torch.finfo(scores.dtype).min",
        evidence="with scores near ±1e5 and beyond, masked keys get weight",
        invariant="a masked key has a weight of exactly 0, whatever the scores",
        place=PLACE,
        wrong=CODE.replace(LOWEST, "-1e4"),
        right=("-1e4", LOWEST),
        reference=SDPA,
    ),
    Entry(
        id="empty-row-nan",
        severity="warning",
        row=7,
        title="a query that may see no key gets NaN",
        why="softmax of a row of -inf is 0/0. One NaN spreads through every later layer and the gradient. Padding and "
        "windows make such rows.",
        cure="use torch.finfo(scores.dtype).min instead of -inf, or set rows without a key to 0 afterwards",
        evidence="{which}: {count} output rows hold NaN",
        invariant="a row in which every key is masked gives finite numbers",
        place=PLACE,
        wrong=CODE.replace(LOWEST, "-torch.inf"),
        right=("-torch.inf", LOWEST),
        reference=SDPA,
    ),
    Entry(
        id="kept-nan",
        severity="error",
        row=7,
        what="whatever the mask keeps becomes NaN",
        title="whatever {name!r} keeps becomes NaN",
        why="0 · -inf is NaN: a 0/1 mask that is multiplied by -inf spoils the pairs that it keeps.",
        cure="scores.masked_fill(~allowed, -inf), or a large finite number instead of -inf",
        invariant="a mask that permits everything changes nothing",
        place="how the mask is turned into a sentinel",
        wrong=CODE.replace(MASKING, "scores + ~mask.bool() * -torch.inf"),
        right=("scores + ~mask.bool() * -torch.inf", MASKING),
        reference=SDPA,
    ),
    Entry(
        id="masked-nan",
        severity="error",
        row=7,
        what="with the mask some outputs are not finite",
        title="with {name!r} some outputs are not finite",
        why="One NaN spreads through every later layer and the gradient.",
        cure="finfo(scores.dtype).min instead of -inf, or set rows without a key to 0",
        evidence="{form}, {convention}",
        invariant="masked scores give finite outputs",
        place=PLACE,
        wrong=CODE.replace("@ value", "@ value**3").replace("~mask", "~(mask & mask.mT)").replace(LOWEST, "-torch.inf"),
        right=CODE,
        reference=SDPA,
    ),
    Entry(
        id="sentinel-beyond-half",
        severity="error",
        row=8,
        title="the mask's sentinel is beyond the range of float16 (±65504), in which the code computes",
        why="-1e9 becomes -inf in float16, and 0 · -inf is NaN; masked_fill raises; finfo.min plus a score overflows as well.",
        cure=IN_HALF,
        invariant=FINITE,
        place=PLACE,
        wrong=CODE.replace(
            "query @ key.mT / math.sqrt(query.shape[-1])", "(query / query.shape[-1] ** 0.5).half() @ key.half().mT"
        )
        .replace("@ value", "@ value.half()")
        .replace(LOWEST, "-1e9"),
        right=("-1e9", LOWEST),
        reference=HALF,
    ),
    Entry(
        id="scores-in-half",
        severity="warning",
        row=8,
        title="q · k is computed in float16 before it is scaled",
        why="The sum over the head is √d times larger than the score, so it passes float16's range (±65504) while the score does "
        "not. One infinite score makes a row NaN.",
        cure="scale the queries first, or compute q · k in float32 or bfloat16",
        evidence="with q · k of {size} and scores that float16 holds, outputs are not finite",
        invariant=FINITE,
        place="q · k",
        wrong=CODE.replace("query @ key.mT", "(query.half() @ key.half().mT).float()"),
        right=("query.half() @ key.half().mT", "query @ key.mT"),
        reference=HALF,
    ),
    Entry(
        id="sentinel-infinite-in-half",
        severity="warning",
        row=8,
        title="the mask's sentinel is -inf in float16, beyond whose range (±65504) it lies",
        why="In float16 masked_fill with it raises, and a row in which every key is masked becomes NaN.",
        cure=IN_HALF,
        invariant=FINITE,
        place=PLACE,
        wrong=CODE.replace("True = keep", "True = keep; runs in float16").replace(LOWEST, "-1e9"),
        right=("-1e9", LOWEST),
        reference=HALF,
    ),
)
