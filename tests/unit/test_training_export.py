"""An export: the best of what is alike, split by conversation, whole or not at all, and the same every time."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from batchmill.errors import ConflictError
from batchmill.training.conversation import conversation_of
from batchmill.training.duplicates import Duplicates
from batchmill.training.export import Exported, Tally, export
from batchmill.training.model import Answered, Wish
from batchmill.training.split import is_for_training
from tests.support.training import answered

STORY = (
    "A farmer has {} geese, sells three of them at the market of the next town on a rainy day in autumn, buys two"
    " hens from a neighbour, and wonders on the long way home how many birds there are now behind the old barn."
)


def chats(number: int) -> list[Answered]:
    """Different questions."""
    return [
        answered(("user", f"What is {nth} times {nth}?"), says=f"{nth * nth}", nth=nth)
        for nth in range(number)
    ]


def exported(sources: list[Answered], path: Path, **wish: Any) -> Exported:
    """An export of these."""
    return export(sources, path, Wish(**wish), Tally())


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_same_answers_give_the_same_bytes(tmp_path: Path) -> None:
    """Into another folder, and again into the same one, which then stays as it is."""
    first = exported(chats(40), tmp_path / "one")
    assert first.is_new
    assert exported(chats(40), tmp_path / "two").is_new
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    inode = (tmp_path / "one").stat().st_ino
    assert not exported(chats(40), tmp_path / "one").is_new
    assert (tmp_path / "one").stat().st_ino == inode
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]


def test_the_best_of_what_is_alike_stays(tmp_path: Path) -> None:
    """The same again, and almost the same: those that come first are the better ones."""
    told = STORY.format("ten")
    sources = [
        answered(("user", told), says="Nine birds."),
        answered(("user", told), says="Nine birds."),
        answered(("user", told + " Now?"), says="Nine birds."),
        answered(("user", "What is a goose?"), says="A bird."),
    ]
    done = exported(sources, tmp_path / "one", train_share=1.0)
    counts = {reason: one["count"] for reason, one in done.manifest["left_out"].items()}
    assert counts == {"duplicate": 1, "near_duplicate": 1}
    assert told in (tmp_path / "one" / "train.jsonl").read_text().splitlines()[0]
    assert exported(sources, tmp_path / "two", near=None).tally.examples == 3


def test_a_system_prompt_makes_nothing_alike() -> None:
    """However long it is: only what is asked and answered is compared."""
    duplicates, told = Duplicates(0.9), ("system", STORY * 20)
    questions = ("What is a goose?", "Where do hens sleep in winter?")
    assert [duplicates.is_near(conversation_of(answered(told, ("user", asked)))) for asked in questions] == [
        False
    ] * 2


def test_a_conversation_is_on_one_side() -> None:
    """By the name that its producer gives it, else by its beginning; the seed draws anew."""
    beginning = ("user", "Hello")
    turns = [beginning, ("assistant", "Hi"), ("user", "And now?")]
    for seed in range(20):
        whole, part = (conversation_of(answered(*said)) for said in (turns, turns[:1]))
        assert is_for_training(whole, share=0.5, seed=seed) == is_for_training(part, share=0.5, seed=seed)
        named = [
            conversation_of(answered(("user", text), metadata={"conversation_id": "c-1"}))
            for text in ("a", "b")
        ]
        assert len({is_for_training(one, share=0.5, seed=seed) for one in named}) == 1
    drawn = {is_for_training(whole, share=0.5, seed=seed) for seed in range(20)}
    assert drawn == {True, False}


def test_the_split_does_not_hang_on_the_others(tmp_path: Path) -> None:
    """What is for validation stays so when more is exported."""
    exported(chats(60), tmp_path / "few", train_share=0.5)
    exported(chats(120), tmp_path / "many", train_share=0.5)
    few, many = ((tmp_path / name / "validation.jsonl").read_text().splitlines() for name in ("few", "many"))
    assert 15 < len(few) < 45
    assert set(few) <= set(many)


def test_what_is_somebody_s_is_in_no_file(tmp_path: Path) -> None:
    """Of question and answer, with the same placeholder; the manifest counts it. It stays where that is wished."""
    source = answered(("user", "Mail to anna@example.com?"), says="Yes, anna@example.com.")
    done = exported([source], tmp_path / "one", train_share=1.0)
    (line,) = (tmp_path / "one" / "train.jsonl").read_text().splitlines()
    assert [said["content"] for said in json.loads(line)["messages"]] == [
        "Mail to [EMAIL_1]?",
        "Yes, [EMAIL_1].",
    ]
    assert done.manifest["redaction"]["replaced"]["EMAIL"] == 2
    assert "anna" not in json.dumps(done.manifest)
    kept = exported([source], tmp_path / "two", train_share=1.0, redact=False)
    assert "anna@example.com" in (tmp_path / "two" / "train.jsonl").read_text()
    assert kept.manifest["redaction"] == {"is_on": False}


def test_a_former_export_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    """Another one takes its place whole; a folder of something else is refused, untouched."""
    exported(chats(20), tmp_path / "one")
    exported(chats(5), tmp_path / "one", train_share=1.0)
    assert set(contents(tmp_path / "one")) == {"train.jsonl", "manifest.json"}
    other = tmp_path / "photos"
    other.mkdir()
    (other / "cat.jpg").write_bytes(b"cat")
    with pytest.raises(ConflictError):
        exported(chats(5), other)
    assert contents(other) == {"cat.jpg": b"cat"}


def interrupted() -> Iterator[Answered]:
    """Answers that come to a sudden end."""
    yield from chats(5)
    raise KeyboardInterrupt


def test_an_export_that_ends_half_way(tmp_path: Path) -> None:
    """Leaves the former one as it was, and no trace; what one that was killed had left goes as well."""
    exported(chats(20), tmp_path / "one")
    before = contents(tmp_path / "one")
    (tmp_path / ".one.0123abcd.part").mkdir()
    with pytest.raises(KeyboardInterrupt):
        export(interrupted(), tmp_path / "one", Wish(), Tally())
    assert contents(tmp_path / "one") == before
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def test_an_empty_export_says_so(tmp_path: Path) -> None:
    """A folder with a manifest, and a warning that it is too little."""
    done = exported([], tmp_path / "one")
    assert set(contents(tmp_path / "one")) == {"manifest.json"}
    assert "at least 10" in done.warnings[0]
