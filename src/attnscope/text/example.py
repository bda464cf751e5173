"""The sentence that `attnscope demo` shows and that the server's page opens with."""

SENTENCE = "As the aircraft becomes lighter, it flies higher in the air of lower density to maintain the same airspeed."
