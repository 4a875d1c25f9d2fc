"""Counts against tiktoken's own, in a process that cannot open a socket."""

import json
import random
import subprocess
import sys
from pathlib import Path

from batchmill.tokens.encodings import EncodingName, read_ranks

ROOT = Path(__file__).parents[2]
REAL = ROOT.parent / "shared" / "data" / "gsm8k_requests.jsonl"
EXAMPLES = ROOT / "examples" / "questions.jsonl"

CACHE_NAMES = {
    EncodingName.O200K: "fb374d419588a4632f3f557e76b4b70aebbca790",
    EncodingName.CL100K: "9b5ad71b2ce5302211f9c61530b329a4922fc6a4",
}
"""The names under which tiktoken looks for its ranks in TIKTOKEN_CACHE_DIR; it verifies what it finds."""

MODELS = {EncodingName.O200K: "gpt-4o-mini", EncodingName.CL100K: "gpt-4"}

COUNT = """
import json, os, sys

def forbid(event, _):
    if event.startswith("socket."):
        raise SystemExit("a socket was used: " + event)

sys.addaudithook(forbid)
from batchmill.tokens.count import count_text

prompts, models, cache = json.load(sys.stdin)
ours = {name: [count_text(model, prompt) for prompt in prompts] for name, model in models.items()}
assert "tiktoken_ext.openai_public" not in sys.modules  # what would download
os.environ["TIKTOKEN_CACHE_DIR"] = cache
import tiktoken

theirs = {name: [len(tiktoken.get_encoding(name).encode(prompt, disallowed_special=())) for prompt in prompts]
          for name in models}
wrong = [(name, prompt) for name in models for prompt, a, b in zip(prompts, ours[name], theirs[name], strict=True)
         if (a.tokens, a.is_exact) != (b, True)]
json.dump({"compared": len(prompts), "wrong": wrong, "tokens": sum(map(sum, theirs.values()))}, sys.stdout)
"""


def count_in_a_child(source: str, given: object, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run that program in an environment with nothing but what is given."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", source],
        input=json.dumps(given),
        env=environ,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def prompts() -> list[str]:
    """More than 1,000: the real questions where they lie beside the checkout, else the examples; then made-up ones."""
    source = REAL if REAL.exists() else EXAMPLES
    lines = map(json.loads, source.read_text(encoding="utf-8").splitlines())
    found = list(dict.fromkeys(message["content"] for line in lines for message in line["body"]["messages"]))
    scripts = [
        "the cost of",
        " 12,345.67",
        "\n\n",
        "  \t",
        "don't",
        "größer",
        "数学の問題",
        "задача",
        "🙂",
        "<|endoftext|>",
    ]
    chance = random.Random(7)
    made_up = ["".join(chance.choices(scripts, k=100)) for _ in range(max(200, 1_000 - len(found)))]
    return [*found, *made_up, *scripts, ""]


def test_counts_equal_tiktokens_on_a_thousand_prompts_without_a_network(tmp_path: Path) -> None:
    """Both encodings, more than 1,000 prompts, every count tiktoken's own and marked exact. The process cannot use a
    socket, sees an empty environment, and counts before tiktoken is shown a cache at all."""
    for name, file_name in CACHE_NAMES.items():
        (tmp_path / file_name).write_bytes(read_ranks(name))
    asked = prompts()
    done = count_in_a_child(COUNT, [asked, MODELS, str(tmp_path)])
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["compared"] == len(asked) > 1_000
    assert report["wrong"] == []
    assert report["tokens"] > 50_000
    # tiktoken deletes what has the wrong hash: it took ours for its own.
    assert {path.name for path in tmp_path.iterdir()} == set(CACHE_NAMES.values())


def test_the_guard_sees_a_socket() -> None:
    """What stands between the test above and the network does its work: tiktoken itself is stopped by it."""
    source = COUNT.split("from batchmill")[0] + "import tiktoken; tiktoken.get_encoding('o200k_base')"
    done = count_in_a_child(source, [], TIKTOKEN_CACHE_DIR="")
    assert done.returncode != 0
    assert "a socket was used" in done.stderr


def test_caches_and_settings_of_tiktoken_are_not_looked_at(tmp_path: Path) -> None:
    """A spoilt cache is neither read nor repaired, and a proxy is not asked."""
    for file_name in CACHE_NAMES.values():
        (tmp_path / file_name).write_bytes(b"spoilt")
    source = (
        "from batchmill.tokens.count import count_text; print(count_text('gpt-4o', 'hello world').tokens)"
    )
    environ = dict.fromkeys(("HTTPS_PROXY", "HTTP_PROXY"), "http://127.0.0.1:9") | {
        "TIKTOKEN_CACHE_DIR": str(tmp_path)
    }
    done = count_in_a_child(source, [], **environ)
    assert (done.returncode, done.stdout) == (0, "2\n"), done.stderr
    assert {path.read_bytes() for path in tmp_path.iterdir()} == {b"spoilt"}
