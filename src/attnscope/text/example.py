"""The sentence that `attnscope demo` shows and that the server's page opens with; the server's page offers more."""

SENTENCE = "As the aircraft becomes lighter, it flies higher in the air of lower density to maintain the same airspeed."

QUESTION = "What is the capital of France?"  # the chat of `attnscope demo --model smollm2`

EXAMPLES = (
    SENTENCE,
    "The animal did not cross the street because it was too tired.",
    "Time flies like an arrow, but fruit flies like a banana.",
)
