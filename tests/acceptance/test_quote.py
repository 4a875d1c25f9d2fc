"""`batchmill quote`, `estimate` and `--dry-run`: what it will cost, with nothing sent and nothing written."""

import json
from contextlib import closing
from pathlib import Path

import pytest

from db import schema
from db.engine import Database
from tests.support.budgets import add_budget
from tests.support.mill import Mill, chat_line, sandbox, write_lines

LINES = [
    chat_line("a", "What is a mill?", max_tokens=100),
    chat_line("b", "What is a mill?", max_tokens=100),
    chat_line("c", "And a batch?", max_tokens=100, model="gpt-6-luna"),
]


@pytest.fixture
def input_path(tmp_path: Path) -> Path:
    """Three lines, two models, one question twice."""
    return write_lines(tmp_path / "in.jsonl", LINES)


def test_a_file_is_quoted(mill: Mill, input_path: Path) -> None:
    """A row a model and one for all; what the figures go by is told; no key is needed and no home made."""
    shown = mill("quote", input_path)
    assert shown.returncode == 0, shown.stderr
    assert [line.split() for line in shown.stdout.splitlines()] == [
        [
            "MODEL",
            "LINES",
            "INPUT",
            "TOKENS",
            "COUNT",
            "HITS",
            "REPEATS",
            "EXPECTED",
            "AT",
            "MOST",
            "DURATION",
        ],
        ["gpt-4o-mini", "2", "24", "exact", "0", "1", "$0.0000318", "$0.0001236", "-"],
        ["gpt-6-luna", "1", "12", "estimate", "0", "0", "$0.0000262", "$0.00007612", "0:02"],
        ["(all)", "3", "36", "estimate", "0", "1", "$0.000058", "$0.0001997", "-"],
    ]
    assert "nobody knows how long a call of gpt-4o-mini takes" in shown.stderr
    assert "half of its limit" in shown.stderr
    assert not mill.home.exists()


def test_the_json_says_the_same(mill: Mill, input_path: Path) -> None:
    """Money as decimal text, what is not known as null."""
    told = json.loads(mill.quickly("quote", input_path, "--json", "--rpm", "60").stdout)
    assert [model["model"] for model in told["models"]] == ["gpt-4o-mini", "gpt-6-luna"]
    assert told["models"][0] == {
        "provider": "openai",
        "model": "gpt-4o-mini",
        "lines": 2,
        "input_tokens": 24,
        "is_exact": True,
        "hits": 0,
        "repeats": 1,
        "calls": 1,
        "output_tokens": 50,
        "expected_usd": "0.0000318",
        "most_usd": "0.0001236",
        "unpriced_lines": 0,
        "unpriced_reason": None,
        "unpriced_fallback_lines": 0,
        "output_basis": "rule",
        "latency_ms": None,
        "latency_basis": "nothing",
        "duration_s": 1.0,
    }
    assert (told["total"]["lines"], told["total"]["duration_s"]) == (3, 2.0)
    assert (told["budgets"], told["fits"]) == ([], True)


def test_models_are_named_with_their_providers(mill: Mill, tmp_path: Path) -> None:
    """As soon as one of them is not OpenAI's; as JSON the provider is always apart, and the model bare."""
    line = chat_line("d", "And a mill?", max_tokens=100, model="anthropic/claude-sonnet-4-5")
    path = write_lines(tmp_path / "mixed.jsonl", [*LINES, line])
    shown = mill("quote", path)
    assert shown.returncode == 0, shown.stderr
    rows = [row.split() for row in shown.stdout.splitlines()[1:]]
    assert [(row[0], row[1]) for row in rows] == [
        ("openai/gpt-4o-mini", "2"),
        ("openai/gpt-6-luna", "1"),
        ("anthropic/claude-sonnet-4-5", "1"),
        ("(all)", "4"),
    ]
    assert "nobody knows how long a call of openai/gpt-4o-mini" in shown.stderr
    told = json.loads(mill.quickly("quote", path, "--json").stdout)
    assert [(model["provider"], model["model"]) for model in told["models"]] == [
        ("openai", "gpt-4o-mini"),
        ("openai", "gpt-6-luna"),
        ("anthropic", "claude-sonnet-4-5"),
    ]
    assert all(model["expected_usd"] for model in told["models"])


def test_any_model_is_quoted_at_the_choice(mill: Mill, tmp_path: Path) -> None:
    """Without a catalogue nothing fits, and each line says so; with one it is what would be asked, and at most the
    dearest that stands by; `estimate` says the same of one request."""
    mill.environ["OPENAI_API_KEY"] = "sk-test"
    path = write_lines(tmp_path / "any.jsonl", [chat_line("a", "hi", model="auto", max_tokens=100)])
    refused = mill.refused("quote", path)
    assert "line 1: no_model_fits (body.model): The catalogue has no model to choose from" in refused
    assert "1 line is not valid; nothing was quoted" in refused
    assert "The catalogue has no model" in mill.refused("estimate", "--prompt", "hi", "--model", "auto")
    assert mill.quickly("providers", "setup").returncode == 0
    (model,) = json.loads(mill.quickly("quote", path, "--json").stdout)["models"]
    name = f"{model['provider']}/{model['model']}"
    compared = json.loads(mill.quickly("quote", path, "--as", name, "--json").stdout)
    (named,) = compared["alternatives"][0]["models"]
    assert (named["model"], named["expected_usd"]) == (model["model"], model["expected_usd"])
    assert float(named["most_usd"]) < float(model["most_usd"])
    line = ("estimate", "--prompt", "hi", "--max-tokens", "100", "--json", "--model")
    (estimated,) = json.loads(mill.quickly(*line, "auto").stdout)["estimates"]
    assert (estimated["provider"], estimated["model"]) == (model["provider"], model["model"])


def test_a_batchs_fallbacks_count_at_most(mill: Mill, input_path: Path) -> None:
    """What is expected stays; at most each line costs what it does at the dearest of them."""
    alone, falling, dear = (
        json.loads(mill.quickly("quote", input_path, "--json", *options).stdout)
        for options in ((), ("--fallback", "gpt-4o"), ("--as", "gpt-4o"))
    )
    assert falling["total"]["expected_usd"] == alone["total"]["expected_usd"]
    assert falling["total"]["most_usd"] == dear["alternatives"][0]["total"]["most_usd"]


def test_a_fallback_without_a_price_is_told(mill: Mill, tmp_path: Path) -> None:
    """What it costs is not in AT MOST, and the quote says so."""
    line = json.loads(LINES[0]) | {"routing": {"fallback": ["local/made-up"]}}
    shown = mill.quickly("quote", write_lines(tmp_path / "in.jsonl", [json.dumps(line)]))
    assert "gpt-4o-mini: 1 line may fall back to models without a known price" in shown.stderr


def test_models_are_compared_cheapest_first(mill: Mill, input_path: Path) -> None:
    """Every line as if it asked that model; one without a price comes last, is told, and is not free."""
    shown = mill.quickly("quote", input_path, "--as", "made-up", "--as", "gpt-4o", "--as", "gpt-6-luna")
    assert shown.returncode == 0, shown.stderr
    rows = [line.split() for line in shown.stdout.splitlines()[1:]]
    assert [(row[0], row[1]) for row in rows] == [("gpt-6-luna", "3"), ("gpt-4o", "3"), ("made-up", "3")]
    assert rows[2][-3:] == ["-", "-", "-"]
    assert "made-up: 3 lines without a known price (unknown_model) in no sum" in shown.stderr
    told = json.loads(mill.quickly("quote", input_path, "--as", "gpt-4o", "--json").stdout)
    assert [each["total"]["calls"] for each in told["alternatives"]] == [2]


def test_a_quote_is_what_it_then_costs(mill: Mill, tmp_path: Path, input_path: Path) -> None:
    """Never more than its most; and once it has run, the cache answers all of it and nothing is to be paid."""
    with sandbox(tmp_path) as provider:
        mill.environ["OPENAI_BASE_URL"] = provider.url
        before = json.loads(mill.quickly("quote", input_path, "--json").stdout)
        report = mill.run(input_path, "-o", "out.jsonl")
        after = json.loads(mill.quickly("quote", input_path, "--json").stdout)
        assert len(provider.calls()) == report["calls"] == before["total"]["calls"] == 2
    assert 0 < float(report["cost_usd"]) <= float(before["total"]["most_usd"])
    assert (after["total"]["hits"], after["total"]["calls"], after["total"]["expected_usd"]) == (3, 0, "0")


@pytest.mark.parametrize("command", [("run", "in.jsonl", "-o", "out.jsonl"), ("submit", "in.jsonl")])
def test_a_dry_run_quotes(mill: Mill, input_path: Path, command: tuple[str, ...]) -> None:
    """The same options and one more: the quote, no key, no output, no batch."""
    done = mill.quickly(*command, "--dry-run", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["total"]["lines"] == 3
    assert sorted(path.name for path in mill.folder.iterdir()) == ["in.jsonl"]


def test_standard_input_makes_no_home(mill: Mill) -> None:
    """It is kept where the system keeps such things, as long as there is no home to keep it in."""
    assert json.loads(mill("quote", "-", "--json", stdin="\n".join(LINES)).stdout)["total"]["lines"] == 3
    assert list(mill.folder.iterdir()) == []


@pytest.mark.parametrize(
    "command", [("quote",), ("run", "-o", "out.jsonl", "--dry-run"), ("submit", "--dry-run")]
)
def test_a_deadline_that_is_none_is_told(mill: Mill, input_path: Path, command: tuple[str, ...]) -> None:
    """As by the run that is quoted."""
    assert "soon" in mill.refused(*command, input_path, "--deadline", "soon")


@pytest.mark.parametrize(("limit_nanos", "status"), [(58_000, 0), (57_999, 1)])
def test_a_dry_run_that_fits_no_budget_says_so(
    mill: Mill, input_path: Path, limit_nanos: int, status: int
) -> None:
    """By what it is expected to cost, in its exit status too; `quote` itself only tells."""
    mill.home.mkdir()
    with closing(Database(f"sqlite:///{mill.home}/batchmill.db")) as database:
        schema.upgrade(database)
        add_budget(database, limit_nanos)
    dry = mill.quickly("run", input_path, "-o", "out.jsonl", "--dry-run")
    told = json.loads(mill.quickly("quote", input_path, "--json").stdout)
    assert (dry.returncode, told["fits"]) == (status, status == 0)
    assert dry.stdout.splitlines()[-1].startswith("the global budget")


def test_bad_lines_are_told_as_by_run(mill: Mill, tmp_path: Path) -> None:
    """All of them with their numbers, names that come twice too; half a quote would be taken for a whole one."""
    write_lines(tmp_path / "in.jsonl", [*LINES, "{", LINES[0]])
    said = mill.refused("quote", "in.jsonl")
    assert "line 4: invalid_json_line" in said
    assert "line 5: duplicate_custom_id (custom_id): The custom_id 'a' is already used by line 1." in said
    assert "error: 2 lines are not valid; nothing was quoted" in said


def test_one_request_is_estimated(mill: Mill, tmp_path: Path) -> None:
    """From a prompt, a body or a line of a batch; several models are compared, cheapest first."""
    models = ("--model", "gpt-4o", "--model", "gpt-6-luna")
    shown = mill("estimate", "--prompt", "What is a mill?", "--max-tokens", "100", *models)
    assert shown.returncode == 0, shown.stderr
    assert [line.split() for line in shown.stdout.splitlines()] == [
        ["MODEL", "INPUT", "TOKENS", "COUNT", "OUTPUT", "TOKENS", "EXPECTED", "AT", "MOST"],
        ["gpt-6-luna", "14", "estimate", "50", "$0.0000264", "$0.00007588"],
        ["gpt-4o", "12", "exact", "50", "$0.00053", "$0.00103"],
    ]
    line = json.loads(LINES[0])
    for document in (line, line["body"]):
        (tmp_path / "body.json").write_text(json.dumps(document))
        told = json.loads(mill.quickly("estimate", "body.json", "--json").stdout)
        assert told == {
            "estimates": [
                {
                    "provider": "openai",
                    "model": "gpt-4o-mini",
                    "input_tokens": 12,
                    "is_exact": True,
                    "output_tokens": 50,
                    "expected_usd": "0.0000318",
                    "most_usd": "0.0000618",
                    "unpriced_reason": None,
                    "output_basis": "rule",
                }
            ]
        }
    assert not mill.home.exists()


def test_a_body_on_standard_input(mill: Mill) -> None:
    """With `-`; an endpoint that the body does not tell has to be named."""
    body = '{"model": "text-embedding-3-small", "input": "hello world"}'
    done = mill("estimate", "-", "--endpoint", "/v1/embeddings", "--json", stdin=body)
    (told,) = json.loads(done.stdout)["estimates"]
    assert (told["input_tokens"], told["output_tokens"], told["most_usd"]) == (2, 0, "0.00000004")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("estimate", "--model", "gpt-4o"), "what is to be asked?"),
        (("estimate", "in.jsonl", "--prompt", "x", "--model", "m"), "what is to be asked?"),
        (("estimate", "--prompt", "x"), "nothing says which model to ask"),
        (("estimate", "no.json", "--model", "m"), '"no.json" cannot be read'),
        (("estimate", "in.jsonl", "--model", "m"), '"in.jsonl" is no JSON'),
        (("estimate", "array.json", "--model", "m"), "it is not a JSON object"),
        (("estimate", "empty.json", "--model", "m"), "it has no messages, input or prompt"),
        (("estimate", "odd.json", "--model", "m"), "'/v1/odd' is no endpoint"),
        (("estimate", "odd.json", "--model", "m", "--max-tokens", "5"), "go with --prompt"),
        (
            (
                "estimate",
                "--prompt",
                "x",
                "--model",
                "m",
                "--endpoint",
                "/v1/embeddings",
                "--max-tokens",
                "5",
            ),
            "answers of /v1/embeddings have no length",
        ),
        (("estimate", "dict.json", "--model", "m"), "{} is no endpoint"),
        (("estimate", "text.json", "--model", "m"), "'body.messages': expected an array, but got a string"),
        (("estimate", "none.json", "--model", "m"), "'body.messages' is empty"),
        (("estimate", "stream.json", "--model", "m"), "Streaming is not supported"),
        (("estimate", "deep.json", "--model", "m"), "nested deeper than 200 levels"),
        (("quote", "in.jsonl", "--as", "gpt-4o", "--as", "auto"), "auto is no model to quote every line at"),
        (("quote", "in.jsonl", "--as", "anthropic/"), "'anthropic/' names no model"),
        (("estimate", "--prompt", "x", "--model", "local/"), "'local/' names no model"),
        (("quote", "no.jsonl"), 'input file "no.jsonl" does not exist'),
        (("quote", "in.jsonl", "--rpm", "0"), "0 is not in the range"),
        (("quote", "in.jsonl", "--concurrency", "many"), "'many' is not a valid integer"),
    ],
)
def test_what_cannot_be_quoted_is_told(
    mill: Mill, input_path: Path, arguments: tuple[str, ...], complaint: str
) -> None:
    """What is wrong, and what to do next."""
    (mill.folder / "array.json").write_text("[]")
    (mill.folder / "empty.json").write_text("{}")
    (mill.folder / "odd.json").write_text('{"url": "/v1/odd", "body": {"input": "x"}}')
    (mill.folder / "dict.json").write_text('{"url": {}, "body": {"input": "x"}}')
    (mill.folder / "text.json").write_text('{"messages": "What is a mill?"}')
    (mill.folder / "none.json").write_text('{"messages": []}')
    (mill.folder / "stream.json").write_text('{"input": "x", "stream": true}')
    (mill.folder / "deep.json").write_text('{"input": ' + "[" * 300 + "]" * 300 + "}")
    assert complaint in mill.refused(*arguments)
