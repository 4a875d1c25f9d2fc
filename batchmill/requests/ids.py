"""How batches, requests and attempts are named, inside and to the outside world.

Inside, a request is one integer: its batch in the high bits, its place in the input in the low 32. So a
batch's requests are one unbroken range in input order, and no second index is needed to walk them.
"""

import re
import secrets
from dataclasses import dataclass

PLACE_BITS = 32
MAX_PLACES = (1 << PLACE_BITS) - 1
_CALL_NAME = re.compile(r"batch_req_([0-9a-z]{1,64})_([0-9]{1,10})/([0-9]{1,9})")


@dataclass(frozen=True, slots=True, kw_only=True)
class CallName:
    """A call by the name that it went by: a batch's public name, a line's place in it, which call of the line.

    Places and numbers begin with 1.
    """

    batch: str
    place: int
    number: int


def new_batch_id() -> str:
    """A fresh public name for a batch: `batch_` and 24 hexadecimal digits."""
    return "batch_" + secrets.token_hex(12)


def request_id(batch: int, place: int) -> int:
    """The number of the request at `place` (from 1) in the batch of that row number."""
    return batch << PLACE_BITS | place


def place_of(request: int) -> int:
    """The place (from 1) in its batch of the request with that number."""
    return request & MAX_PLACES


def public_request_id(batch_public_id: str, request: int) -> str:
    """The name of a request in the output file: `batch_req_<batch>_<place>`."""
    return f"batch_req_{batch_public_id.removeprefix('batch_')}_{place_of(request)}"


def client_request_id(batch_public_id: str, request: int, attempt: int) -> str:
    """What the provider sees as `X-Client-Request-Id`: one name for each (request, attempt)."""
    return f"{public_request_id(batch_public_id, request)}/{attempt}"


def call_name(client_request_id: str) -> CallName | None:
    """Whose call the provider saw under that name; None if it is none of ours."""
    match = _CALL_NAME.fullmatch(client_request_id)
    if match is None or not 1 <= int(match[2]) <= MAX_PLACES:
        return None
    return CallName(batch=f"batch_{match[1]}", place=int(match[2]), number=int(match[3]))
