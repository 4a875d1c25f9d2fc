"""The secret of an embedded home: made once, whole, for its owner alone; refused where others may read it."""

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from batchmill.errors import SettingsError
from batchmill.settings import Settings, load_settings
from workers.serving.key_secret import keys_secret

SECRET = "not-for-your-eyes-" + "x" * 32


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Those of an embedded home that is not there yet."""
    return load_settings({"BATCHMILL_HOME": str(tmp_path / "home")}, None)


@pytest.fixture
def file(settings: Settings) -> Path:
    """The file, as it is made."""
    keys_secret(settings)
    return settings.home / "keys.secret"


def test_only_its_owner_may_read_it(settings: Settings) -> None:
    """Whatever the umask; and nothing else is left beside it."""
    before = os.umask(0)
    try:
        keys_secret(settings)
    finally:
        os.umask(before)
    (file,) = settings.home.glob("keys*")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_many_at_once_get_the_same(settings: Settings) -> None:
    """The first one made stays."""
    with ThreadPoolExecutor(8) as threads:
        assert len(set(threads.map(lambda _: keys_secret(settings), range(8)))) == 1


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o622])
def test_others_who_may_get_at_it_stop_the_start(settings: Settings, file: Path, mode: int) -> None:
    """It is named, with what keeps them out; and kept, as all keys hang on it."""
    before = file.read_text()
    file.chmod(mode)
    with pytest.raises(SettingsError) as refused:
        keys_secret(settings)
    assert str(file) in refused.value.message
    assert "chmod 600" in refused.value.hint
    assert file.read_text() == before


@pytest.mark.parametrize("content", ["", "\n", "short"])
def test_one_that_is_no_secret_is_refused(settings: Settings, file: Path, content: str) -> None:
    """An empty file is not made up for: every key would be void without a word."""
    file.write_text(content)
    with pytest.raises(SettingsError, match="no secret"):
        keys_secret(settings)


def test_what_cannot_be_read_is_told(settings: Settings, file: Path) -> None:
    """Such as a folder in its place, or a link to nowhere."""
    file.unlink()
    file.mkdir()
    with pytest.raises(SettingsError, match="cannot be used"):
        keys_secret(settings)
    file.rmdir()
    file.symlink_to(file.with_name("nowhere"))
    with pytest.raises(SettingsError, match="cannot be used"):
        keys_secret(settings)


def test_a_secret_that_is_too_short_is_refused_and_not_shown() -> None:
    """The variable is named."""
    with pytest.raises(SettingsError, match="BATCHMILL_KEYS_SECRET") as refused:
        load_settings({"BATCHMILL_KEYS_SECRET": "hunter2-hunter2"}, None)
    assert "hunter2" not in refused.value.message + refused.value.hint


def test_it_is_masked_and_reaches_children_whole() -> None:
    """Neither the description nor a repr shows it."""
    settings = load_settings({"BATCHMILL_KEYS_SECRET": SECRET}, None)
    (shown,) = (one for one in settings.describe() if one.variable == "BATCHMILL_KEYS_SECRET")
    assert shown.value == "***"
    assert SECRET not in repr(settings)
    assert settings.to_environ()["BATCHMILL_KEYS_SECRET"] == SECRET
