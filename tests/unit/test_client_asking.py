"""One call and its retries: what may be asked again is, what may have been paid for is not."""

import pytest

from batchmill.client.asking import asked, pause_s, told, with_json
from batchmill.client.errors import (
    ApiError,
    AuthenticationError,
    BudgetExceededError,
    InvalidRequestError,
    PermissionDeniedError,
    RateLimitedError,
    ServerError,
    ServiceUnreachableError,
    StateError,
    UnknownIdError,
)
from batchmill.client.steps import LostError, NotReachedError, Request
from batchmill.client.uploads import Upload
from batchmill.errors import ConflictError, NotFoundError
from tests.support.steps import Script, answer, error

READ = Request(method="GET", path="/x")
PAID = Request(method="POST", path="/x", may_repeat=False)


@pytest.mark.parametrize("passing", [error(500), error(502), error(503), error(504), error(408), error(429)])
def test_what_passes_is_asked_again(passing):
    """After a failure of the moment the next answer counts."""
    script = Script([passing, answer(body=b'{"a":1}')])
    assert script.play(told(READ, 2)) == {"a": 1}
    assert len(script.slept) == 1


@pytest.mark.parametrize("trouble", [NotReachedError("refused"), LostError("reset")])
def test_a_lost_connection_is_made_again(trouble):
    """Twice by default; then it is told."""
    assert Script([trouble, trouble, answer()]).play(told(READ, 2)) == {}
    with pytest.raises(ServiceUnreachableError) as unreachable:
        Script([trouble, trouble, trouble]).play(asked(READ, 2))
    assert unreachable.value.hint


def test_what_may_have_been_paid_for_is_not_asked_again():
    """A lost answer may have been given, and a 500 may have come behind it; whoever asks has to decide."""
    script = Script([LostError("reset")])
    with pytest.raises(ServiceUnreachableError) as lost:
        script.play(asked(PAID, 2))
    assert "paid for" in lost.value.hint
    for status in (500, 502, 503, 504):
        with pytest.raises(ServerError):
            Script([error(status)]).play(asked(PAID, 2))


@pytest.mark.parametrize("undone", [NotReachedError("refused"), error(429), error(503, retry_after="1")])
def test_what_was_refused_undone_is_asked_again_whatever_it_is(undone):
    """Nothing has happened: asking again pays for nothing twice."""
    assert Script([undone, answer()]).play(told(PAID, 2)) == {}


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 422])
def test_what_would_be_refused_again_is_not_asked_again(status):
    """One answer is enough."""
    script = Script([error(status)])
    with pytest.raises(ApiError):
        script.play(asked(READ, 2))
    assert script.slept == []


def test_the_service_says_how_long_to_wait():
    """`retry-after-ms` goes before `retry-after`; a time too long is not waited for."""
    script = Script(
        [error(429, retry_after="2"), error(429, retry_after_ms="250", retry_after="9"), answer()]
    )
    script.play(asked(READ, 2))
    assert script.slept == [2.0, 0.25]
    with pytest.raises(RateLimitedError):
        Script([error(429, retry_after="3600")]).play(asked(READ, 2))


def test_the_service_says_that_it_is_no_use():
    """`x-should-retry: false` is obeyed."""
    with pytest.raises(RateLimitedError):
        Script([error(429, x_should_retry="false")]).play(asked(READ, 2))


def test_pauses_grow_and_differ():
    """So that many producers do not come back at the same moment."""
    assert 0.375 <= pause_s(0) <= 0.5
    assert 0.75 <= pause_s(1) <= 1.0
    assert 6.0 <= pause_s(20) <= 8.0
    assert len({pause_s(3) for _ in range(20)}) > 1


class Once:
    """A source that is used up."""

    may_repeat = False

    def pieces(self):
        return iter([b"line\n"])


def test_a_used_up_upload_is_not_sent_again():
    """What a generator has given is gone; before its first line it may be tried anew."""
    upload = Upload(Once(), fields={}, filename="a.jsonl")
    request = Request(method="POST", path="/v1/files", content=upload)
    assert Script([NotReachedError("refused"), answer()]).play(told(request, 2)) == {}
    list(upload)
    with pytest.raises(ServiceUnreachableError):
        Script([LostError("reset")]).play(asked(request, 2))
    with pytest.raises(ServerError):
        Script([error(503)]).play(asked(request, 2))


def test_a_form_has_its_fields_before_its_file():
    """The service knows what is coming before it comes."""
    upload = Upload(Once(), fields={"purpose": "batch"}, filename="a.jsonl")
    body = b"".join(upload)
    boundary = upload.content_type.partition("boundary=")[2].encode()
    assert body.startswith(b"--" + boundary + b"\r\n")
    assert body.endswith(b"line\n\r\n--" + boundary + b"--\r\n")
    assert body.index(b'name="purpose"') < body.index(b'name="file"; filename="a.jsonl"')


@pytest.mark.parametrize(
    ("came", "kind"),
    [
        (error(400), InvalidRequestError),
        (error(413), InvalidRequestError),
        (error(422), InvalidRequestError),
        (error(401), AuthenticationError),
        (error(403), PermissionDeniedError),
        (error(404), UnknownIdError),
        (error(409), StateError),
        (error(429), RateLimitedError),
        (error(429, code="budget_exceeded"), BudgetExceededError),
        (error(500), ServerError),
        (error(529), ServerError),
    ],
)
def test_each_status_has_its_error(came, kind):
    """What to catch is told by the type."""
    with pytest.raises(kind) as raised:
        Script([came]).play(asked(READ, 0))
    assert raised.value.status == came.status


def test_an_error_says_what_the_service_said():
    """Message, code, param and the id that the service's log knows."""
    body = (
        b'{"error":{"message":"No batch found.","type":"invalid_request_error","param":"id","code":"gone"}}'
    )
    with pytest.raises(UnknownIdError) as raised:
        Script([answer(404, body, x_request_id="req_1")]).play(asked(READ, 0))
    found = raised.value
    assert (found.message, found.code, found.param, found.request_id) == (
        "No batch found.",
        "gone",
        "id",
        "req_1",
    )
    assert str(found) == "No batch found. (HTTP 404, gone, req_1)"
    assert isinstance(found, NotFoundError)
    with pytest.raises(ConflictError):
        Script([error(409)]).play(asked(READ, 0))


@pytest.mark.parametrize("body", [b"<html>Bad gateway</html>", b"", b"[]", b'{"error":"no"}'])
def test_an_error_in_other_words_is_shown(body):
    """A proxy in between speaks for itself; what it says is told as it is."""
    with pytest.raises(ServerError, match="HTTP 502"):
        Script([answer(502, body)]).play(asked(READ, 0))


@pytest.mark.parametrize("body", [b"<html>Welcome</html>", b"[1]", b""])
def test_somebody_else_at_the_address_is_told(body):
    """A good answer that is not ours means that the address is wrong."""
    with pytest.raises(ServerError, match="not batchmill") as raised:
        Script([answer(200, body)]).play(told(READ, 0))
    assert "BATCHMILL_BASE_URL" in raised.value.hint


def test_json_goes_with_its_type():
    """And with the headers that the call has besides."""
    made = with_json({"a": 1}, {"idempotency-key": "k"})
    assert made == {
        "content": b'{"a":1}',
        "headers": {"content-type": "application/json", "idempotency-key": "k"},
    }
