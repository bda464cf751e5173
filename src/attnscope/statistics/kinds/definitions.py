"""What these are, with their formulas and sources."""

from attnscope.statistics.definitions import Statistic

KINDS = (
    Statistic(
        "rollout",
        "rollout",
        "part",
        "Which part of a token of the last layer each token of the input has, if every layer passes on the mean of its heads and "
        "the token itself in equal parts.",
        "Abnar and Zuidema 2020",
        "e_i · Ā_L · … · Ā_1, Ā = (A + I) with rows that sum to 1, A the mean of w over the heads",
    ),
    Statistic(
        "head_distances",
        "distance between heads",
        "nats",
        "How differently two heads spread the weight of the same query: the Jensen-Shannon divergence of their rows, averaged "
        "over a stated sample of queries; 0 is alike, ln 2 no key in common.",
        "Clark et al. 2019",
        "⟨H(½ w_A[i] + ½ w_B[i]) − ½ H(w_A[i]) − ½ H(w_B[i])⟩, H(p) = −Σ p ln p",
    ),
    Statistic(
        "top_pairs",
        "strongest pairs",
        "part",
        "The pairs of a query and a key with the largest weights of a head, between different tokens of which neither is special; "
        "keys that are sink tokens, to which most heads give much, are left out too.",
        "",
        "the k largest w[i,j], over i ≠ j, neither of them special, j no sink token",
    ),
    Statistic(
        "retrieval",
        "retrieval score",
        "part",
        "How much of a sentence hidden in a long text a head copies: of each token that the model generates, whether the head "
        "looks most at that very token in the sentence. Only answers that are right count.",
        "Wu et al. 2024, as their code has it",
        "Σ over generated tokens y_t of (1 / n where j = argmax_j w[t,j] lies in the sentence and x[j] = y_t, else 0), n the "
        "number of its tokens, averaged over the samples",
    ),
)  # fmt: skip
