"""The answer of the process that runs somebody else's code: one line with a seal that only who holds the secret can make.

The standard library alone: the supervisor and the command's own process read answers without torch.
"""

import hashlib
import hmac
import json
from typing import Any


def seal(answer: dict[str, Any], secret: str) -> bytes:
    """The answer as one line: its seal, a space, and the answer as JSON."""
    body = json.dumps(answer).encode()
    return _mark(body, secret) + b" " + body + b"\n"


def opened(line: bytes, secret: str) -> dict[str, Any] | None:
    """The answer in this line; None where the seal is another's, or where it is no answer."""
    mark, _, body = line.strip().partition(b" ")
    if not hmac.compare_digest(mark, _mark(body, secret)):
        return None
    try:
        answer = json.loads(body)
    except ValueError:
        return None
    return answer if is_answer(answer) else None


def is_answer(answer: Any) -> bool:
    """Whether this is what `examine_file` returns: an exit code, the report as text, and the diagnosis as JSON that agrees."""
    if not isinstance(answer, dict) or answer.keys() != {"code", "text", "json"}:
        return False
    code, text, data = (answer[name] for name in ("code", "text", "json"))
    if type(code) is not int or code not in (0, 1, 2, 3) or not isinstance(text, str) or not isinstance(data, dict):
        return False
    return code == 2 if "error" in data else data.get("passed") is (code == 0)


def _mark(body: bytes, secret: str) -> bytes:
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest().encode()
