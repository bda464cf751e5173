"""What code prints, kept up to a limit: a loop that prints for ever fills no memory."""

import io

MOST = 1 << 16  # characters


class Printed(io.StringIO):
    """The first MOST characters that are written to it."""

    def write(self, text: str) -> int:
        super().write(text[: max(MOST - self.tell(), 0)])
        return len(text)
