"""What `batchmill providers` refuses: in this process, for there is much of it."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text

from batchmill.catalogue.entries import ModelEntry, Tier
from cli.main import run
from db import catalogue
from db.engine import Database
from tests.support.mill import assert_told

BAD = [
    ("add acme/m", "--tier"),
    ("add acme/m --tier best", "'best'"),
    ("add m --tier cheap", "'m' is not PROVIDER/MODEL"),
    ("add Acme/m --tier cheap", "'Acme'"),
    ("add acme/m --tier cheap --input-price $0.15 --output-price 1", "'$0.15'"),
    ("add acme/m --tier cheap --input-price 0,15 --output-price 1", "'0,15'"),
    ("add acme/m --tier cheap --input-price -1 --output-price 1", "'-1'"),
    ("add acme/m --tier cheap --input-price nan --output-price 1", "'nan'"),
    ("add acme/m --tier cheap --input-price 9999999 --output-price 1", "1,000,000"),
    ("add acme/m --tier cheap --input-price 1", "a price for input needs one for output"),
    ("add acme/m --tier cheap --cached-input-price 1", "cached input"),
    ("add acme/m --tier cheap --quality 1.5", "'1.5'"),
    ("add acme/m --tier cheap --quality nan", "'nan'"),
    ("add acme/m --tier cheap --capabilities text,smell", "'smell'"),
    ("add acme/m --tier cheap --context 0", "0"),
    ("add acme/there --tier cheap", "acme/there already"),
    ("edit acme/there", "nothing to change"),
    ("edit acme/there --output-price 2", "needs one for input"),
    ("edit acme/there --list-price --request-price 1", "exclude each other"),
    ("edit acme/ther --quality 0.5", "acme/there"),
    ("enable acme/there acme/q", "acme/q"),
    ("disable acme/there acme/q", "acme/q"),
    ("remove acme/there acme/q", "acme/q"),
    ("set-default acme/q", "acme/q"),
    ("setup --provider acme", '"acme"'),
    ("setup --reset", "--yes"),
]


@pytest.fixture
def rows(
    tmp_path: Path, sqlite_template: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], list[object]]:
    """A home whose catalogue holds acme/there; what its table holds now."""
    shutil.copy(sqlite_template, tmp_path / "batchmill.db")
    monkeypatch.setenv("BATCHMILL_HOME", str(tmp_path))
    for variable in ("DATABASE_URL", "BATCHMILL_PRICES", "BATCHMILL_DEBUG"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)
    url = f"sqlite:///{tmp_path / 'batchmill.db'}"
    there = Database(url)
    with there.write() as tx:
        catalogue.add(tx, ModelEntry(provider="acme", model="there", tier=Tier.CHEAP))
    there.close()

    def read() -> list[object]:
        database = Database(url)
        with database.read() as tx:
            found = [tuple(row) for row in tx.rows(text("SELECT * FROM catalogue"))]
        database.close()
        return list(found)

    return read


@pytest.mark.parametrize(("command", "named"), BAD)
def test_bad_input_names_what_is_wrong_and_changes_nothing(
    rows: Callable[[], list[object]], capsys: pytest.CaptureFixture[str], command: str, named: str
) -> None:
    """Whatever is wrong with a command, it says which word, exits 1 or 2, and leaves the catalogue as it was."""
    before = rows()
    assert run(["providers", *command.split()]) in (1, 2)
    out, err = capsys.readouterr()
    assert out == ""
    assert_told(err)
    assert named in err
    assert rows() == before
