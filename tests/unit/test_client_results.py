"""Results: read from the lines of OpenAI's files, in the order of the requests, however many files they stand in."""

import orjson
import pytest

from batchmill.client.batches import results_as_they_end, results_of, results_so_far
from batchmill.client.errors import BatchFailedError, NotEndedError, ServiceUnreachableError
from batchmill.client.results import read_result, text_of
from batchmill.client.steps import LostError
from tests.support.steps import Script, answer, error

CHAT = {"model": "m-2026", "choices": [{"message": {"role": "assistant", "content": "Lima"}}]}


def line(place: int, status: int | None = 200, body: object = CHAT, **more: object) -> bytes:
    response = None if status is None else {"status_code": status, "request_id": "req_1", "body": body}
    told = {"id": f"batch_req_b1_{place}", "custom_id": f"c{place}", "response": response, "error": None}
    return orjson.dumps(told | more) + b"\n"


def batch(status: str = "completed", **more: object) -> dict:
    counts = {"total": 3, "completed": 2, "failed": 1}
    return {"id": "batch_b1", "status": status, "request_counts": counts} | more


def told(status: str, **more: object) -> object:
    return answer(200, orjson.dumps(batch(status, **more)))


def test_an_answer():
    """Name, place, text, model; whose answer it is where the line says so."""
    result = read_result(line(7))
    assert (result.custom_id, result.place, result.status_code) == ("c7", 7, 200)
    assert (result.ok, result.text, result.error) == (True, "Lima", None)
    assert (result.model, result.provider) == ("m-2026", None)
    noted = read_result(
        line(7, batchmill={"provider": "anthropic", "model": "claude", "asked_model": "auto"})
    )
    assert (noted.provider, noted.model) == ("anthropic", "claude")


def test_a_refusal_of_the_provider():
    """HTTP answered, and the answer is an error: it is none to read a text from."""
    result = read_result(line(1, 404, {"error": {"code": "model_not_found", "message": "No such model."}}))
    assert (result.ok, result.text, result.status_code) == (False, None, 404)
    assert result.error is not None
    assert (result.error.code, result.error.message) == ("model_not_found", "No such model.")


def test_a_refusal_without_words():
    """The status is the code then."""
    result = read_result(line(1, 500, "oops"))
    assert result.error is not None
    assert result.error.code == "http_500"


def test_no_answer():
    """Expired, cancelled: there is no status, and the code says why."""
    result = read_result(line(1, None, error={"code": "batch_expired", "message": "Too late."}))
    assert (result.ok, result.status_code, result.body, result.model) == (False, None, None, None)
    assert result.error is not None
    assert result.error.code == "batch_expired"


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (CHAT, "Lima"),
        ({"choices": [{"text": "Lima"}]}, "Lima"),
        ({"choices": [{"message": {"content": None, "tool_calls": [{}]}}]}, None),
        ({"choices": []}, None),
        ({"data": [{"embedding": [0.1]}]}, None),
        ("Lima", None),
        (
            {
                "output": [
                    {"type": "reasoning", "summary": []},
                    {"type": "message", "content": [{"type": "output_text", "text": "Li"}]},
                    {
                        "type": "message",
                        "content": [{"type": "refusal"}, {"type": "output_text", "text": "ma"}],
                    },
                ]
            },
            "Lima",
        ),
    ],
)
def test_the_text_of_every_endpoint(body, text):
    """One attribute, whichever endpoint was asked; None where an answer is no text."""
    assert text_of(body) == text


def test_two_files_come_together_in_order():
    """Answers and failures stand in files of their own, and come in the order of the requests."""
    raw = batch(output_file_id="file-o", error_file_id="file-e")
    script = Script(
        [answer(), line(1) + line(4), answer(), line(2, 400, {}) + line(3, 400, {}), b"", line(5), b""]
    )
    script.play(results_of(raw, 0))
    assert [result.place for result in script.emitted] == [1, 2, 3, 4, 5]
    assert script.asked == ["GET /v1/files/file-o/content", "GET /v1/files/file-e/content"]


@pytest.mark.parametrize("name", ["output_file_id", "error_file_id"])
def test_one_file_is_enough(name):
    """All answered, or all failed: the other file is not there."""
    script = Script([answer(), line(1)[:20], line(1)[20:] + line(2).rstrip(), b""])
    script.play(results_of(batch(**{name: "file-1"}), 0))
    assert [result.place for result in script.emitted] == [1, 2]


def test_no_file_is_no_result():
    """A batch cancelled before its first line was read has none."""
    script = Script([])
    script.play(results_of(batch("cancelled", request_counts={"total": 0, "completed": 0, "failed": 0}), 0))
    assert script.emitted == []


def test_a_batch_of_the_command_line():
    """It has results and no files of the service: they come page by page, in order, as all of them have ended."""
    script = Script([told("completed"), page(line(1) + line(2) + line(3), "c1", has_more=False)])
    script.play(results_of(batch("completed"), 0))
    assert [result.place for result in script.emitted] == [1, 2, 3]
    assert script.asked[1] == "GET /v1/batches/batch_b1/results"


def test_it_reads_on_where_it_broke_off():
    """A lost connection costs no result, and gives none twice."""
    first, second = line(1), line(2)
    script = Script([answer(), first + second[:9], LostError("reset"), answer(206), second[9:], b""])
    script.play(results_of(batch(output_file_id="file-o"), 1))
    assert [result.place for result in script.emitted] == [1, 2]
    assert script.requests[1].headers["range"] == f"bytes={len(first) + 9}-"


def test_it_does_not_begin_anew_unasked():
    """A service that ignores where to go on would give results twice."""
    script = Script([answer(), line(1), LostError("reset"), answer(200)])
    with pytest.raises(ServiceUnreachableError, match="rest of them"):
        script.play(results_of(batch(output_file_id="file-o"), 1))


def test_a_service_that_stays_away_is_told():
    """What has come has come; what is missing is an error, not the end."""
    script = Script([answer(), line(1), LostError("reset")])
    with pytest.raises(ServiceUnreachableError, match="broke off"):
        script.play(results_of(batch(output_file_id="file-o"), 0))
    assert len(script.emitted) == 1


def test_results_in_order_need_an_end():
    """What a batch under way has is asked for in other words; whether it has ended is looked at first."""
    with pytest.raises(NotEndedError, match="in_progress") as raised:
        Script([told("in_progress")]).play(results_of(batch("in_progress"), 0))
    assert "partial=True" in raised.value.hint
    script = Script([told("completed", output_file_id="file-o"), answer(), b""])
    script.play(results_of(batch("in_progress"), 0))
    assert script.asked == ["GET /v1/batches/batch_b1", "GET /v1/files/file-o/content"]


def test_a_batch_that_was_not_accepted_has_none():
    """It is told with every bad line."""
    faults = [{"code": "missing", "message": f"fault {n}", "line": n, "param": None} for n in range(1, 8)]
    with pytest.raises(BatchFailedError) as raised:
        Script([]).play(results_of(batch("failed", errors={"data": faults}), 0))
    assert [fault.line for fault in raised.value.errors] == list(range(1, 8))
    assert "line 1: fault 1" in raised.value.message
    assert "and 2 more" in raised.value.message


def page(lines: bytes, after: str, has_more: bool = True) -> object:
    return answer(200, lines, x_next_after=after, x_has_more=str(has_more).lower())


def cursors(script: Script) -> list[str | None]:
    """Which pages were asked for."""
    return [one.query["after"] for one in script.requests if one.path.endswith("/results")]


def test_what_there_is_page_by_page():
    """All that has ended by now, and no more, though the batch goes on."""
    script = Script([told("in_progress"), page(line(3) + line(1), "c1"), page(line(2) + line(4), "c2")])
    script.play(results_so_far("batch_b1", 0))
    assert [result.place for result in script.emitted] == [3, 1, 2]
    assert cursors(script) == [None, "c1"]
    assert script.slept == []


def test_what_is_not_there_yet_is_not_waited_for():
    """A line that has ended may come a moment later than it is counted."""
    script = Script([told("in_progress"), page(line(3), "c1"), page(b"", "c1")])
    script.play(results_so_far("batch_b1", 0))
    assert [result.place for result in script.emitted] == [3]


def test_as_they_end_each_once():
    """It follows a batch to its last line, and asks more rarely while nothing comes."""
    script = Script(
        [
            page(b"", "c0"),
            page(b"", "c0"),
            page(line(2), "c1"),
            page(line(1), "c2", has_more=False),
            told("completed"),
        ]
    )
    script.play(results_as_they_end("batch_b1", 0))
    assert [result.place for result in script.emitted] == [2, 1]
    assert cursors(script) == [None, "c0", "c0", "c1"]
    assert script.slept == pytest.approx([0.15, 0.225, 0.1])


def test_following_a_batch_that_is_not_accepted():
    """Whoever waits for its results is told why there are none."""
    with pytest.raises(BatchFailedError):
        Script([page(b"", "c0", has_more=False), told("failed")]).play(results_as_they_end("batch_b1", 0))


def test_an_error_of_the_service_is_an_error():
    """A results page that cannot be had is not an empty one."""
    with pytest.raises(Exception, match="No"):
        Script([error(404)]).play(results_so_far("batch_b1", 0))
