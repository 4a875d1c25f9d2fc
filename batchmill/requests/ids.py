"""How batches, requests and attempts are named, inside and to the outside world.

Inside, a request is one integer: its batch in the high bits, its place in the input in the low 32. So a
batch's requests are one unbroken range in input order, and no second index is needed to walk them.
"""

import secrets

PLACE_BITS = 32
MAX_PLACES = (1 << PLACE_BITS) - 1


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
