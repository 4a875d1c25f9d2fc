"""The secrets file: what it sets, before what it counts, and what is refused or warned of."""

import stat
from pathlib import Path

import pytest

from batchmill.errors import SettingsError
from batchmill.settings import Settings, Source, load_settings
from batchmill.settings.secrets_file import is_exposed

SECRET = "sk-not-for-your-eyes"
REGULAR = stat.S_IFREG
ROOT, SOMEBODY = 0, 1000


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    """A file that only its owner may read, with a key in it."""
    path = tmp_path / "secrets"
    path.touch(0o600)
    path.write_text(f"OPENAI_API_KEY={SECRET}\nBATCHMILL_WORKERS=3\n")
    return path


def load(secrets: Path, dotenv: Path | None = None, **environ: str) -> Settings:
    """The settings with that secrets file."""
    return load_settings({"BATCHMILL_SECRETS": str(secrets), **environ}, dotenv)


def sources(settings: Settings) -> dict[str, Source]:
    """Where each value comes from."""
    return {row.variable: row.source for row in settings.describe()}


def test_it_sets_whatever_a_variable_can(secrets: Path) -> None:
    """Keys above all, but not only; where they come from is told, and nothing is to be warned of."""
    settings = load(secrets)
    assert settings.openai.api_keys[0].get_secret_value() == SECRET
    assert settings.workers.processes == 3
    assert sources(settings)["OPENAI_API_KEY"] is Source.SECRETS
    assert sources(settings)["BATCHMILL_SECRETS"] is Source.ENVIRONMENT
    assert settings.warnings == ()
    assert Source.SECRETS.value == "secrets file"


def test_it_counts_after_the_environment_and_before_dotenv(secrets: Path, tmp_path: Path) -> None:
    """The first place that knows a variable decides."""
    (tmp_path / ".env").write_text("OPENAI_API_KEY=other\nBATCHMILL_WORKERS=5\nBATCHMILL_CONCURRENCY=7\n")
    settings = load(secrets, tmp_path / ".env", BATCHMILL_WORKERS="2")
    assert settings.openai.api_keys[0].get_secret_value() == SECRET
    assert (settings.workers.processes, settings.workers.concurrency) == (2, 7)


def test_an_empty_value_in_it_hides_dotenv(secrets: Path, tmp_path: Path) -> None:
    """As one in the environment does."""
    secrets.write_text("BATCHMILL_WORKERS=\n")
    (tmp_path / ".env").write_text("BATCHMILL_WORKERS=5\n")
    assert load(secrets, tmp_path / ".env").workers.processes == 1


def test_dotenv_may_name_it_and_the_environment_hide_it(secrets: Path, tmp_path: Path) -> None:
    """A folder has its own; `BATCHMILL_SECRETS= batchmill …` does without."""
    dotenv = tmp_path / ".env"
    dotenv.write_text(f"BATCHMILL_SECRETS={secrets}\n")
    assert load_settings({}, dotenv).openai.api_keys
    assert not load_settings({"BATCHMILL_SECRETS": ""}, dotenv).openai.api_keys


def test_its_name_is_taken_from_the_working_directory(
    secrets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As every other path is."""
    monkeypatch.chdir(tmp_path)
    settings = load_settings({"BATCHMILL_SECRETS": secrets.name}, None)
    assert settings.secrets_file == secrets
    assert settings.openai.api_keys


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "there is no"),
        (f"A=1\n{SECRET}\n".encode(), "line 2 is not NAME=value"),
        (b"A=\xff\n", "is not UTF-8"),
        (b"BATCHMILL_SECRETS=more\n", "names a secrets file itself"),
    ],
)
def test_a_file_that_cannot_be_used_stops_the_start(
    secrets: Path, content: bytes | None, reason: str
) -> None:
    """The variable is named, the file too, and nothing that is in it."""
    secrets.unlink() if content is None else secrets.write_bytes(content)
    with pytest.raises(SettingsError, match=f"BATCHMILL_SECRETS: .*{reason}") as refused:
        load(secrets)
    assert str(secrets) in refused.value.message
    assert refused.value.hint
    assert SECRET not in refused.value.message + refused.value.hint


def test_a_folder_is_no_secrets_file(tmp_path: Path) -> None:
    """What cannot be read as a file is told as such."""
    with pytest.raises(SettingsError, match=r"BATCHMILL_SECRETS: .* cannot be read"):
        load(tmp_path)


def test_no_value_of_it_is_shown_where_it_cannot_be_used(secrets: Path) -> None:
    """Also that of a variable that is no secret: a key may have slipped there."""
    secrets.write_text(f"BATCHMILL_WORKERS={SECRET}\n")
    with pytest.raises(SettingsError, match="BATCHMILL_WORKERS is set; it takes") as refused:
        load(secrets)
    assert SECRET not in refused.value.message
    assert "the secrets file" in refused.value.hint


def test_a_child_process_does_without_the_file(secrets: Path) -> None:
    """It has everything in memory, also when the file is gone or says something else by then."""
    settings = load(secrets)
    secrets.write_text("BATCHMILL_WORKERS=9\nBATCHMILL_CONCURRENCY=9\n")
    inherited = {"BATCHMILL_SECRETS": str(secrets)}
    child = load_settings(inherited | settings.to_environ(), None)
    assert child.model_dump(exclude={"secrets_file"}) == settings.model_dump(exclude={"secrets_file"})


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610])
def test_a_file_that_others_may_get_at_is_warned_of(secrets: Path, mode: int) -> None:
    """It is read all the same, and its name and the remedy are told."""
    secrets.chmod(mode)
    settings = load(secrets)
    assert settings.openai.api_keys
    [warning] = settings.warnings
    assert str(secrets) in warning
    assert "chmod 600" in warning


@pytest.mark.parametrize(
    ("path", "mode", "owner", "reader", "is_open"),
    [
        ("/home/me/secrets", REGULAR | 0o600, SOMEBODY, SOMEBODY, False),
        ("/home/me/secrets", REGULAR | 0o400, SOMEBODY, SOMEBODY, False),
        ("/home/me/secrets", REGULAR | 0o640, SOMEBODY, SOMEBODY, True),
        ("/etc/batchmill/secrets", REGULAR | 0o640, ROOT, SOMEBODY, False),
        ("/etc/batchmill/secrets", REGULAR | 0o660, ROOT, SOMEBODY, True),
        ("/etc/batchmill/secrets", REGULAR | 0o644, ROOT, SOMEBODY, True),
        ("/etc/batchmill/secrets", REGULAR | 0o640, ROOT, ROOT, True),
        ("/run/secrets/batchmill", REGULAR | 0o444, ROOT, SOMEBODY, False),
        ("/run/secrets/batchmill", REGULAR | 0o444, ROOT, ROOT, False),
        ("/run/secrets/batchmill", REGULAR | 0o444, SOMEBODY, SOMEBODY, True),
        ("/dev/fd/63", stat.S_IFIFO | 0o666, SOMEBODY, SOMEBODY, False),
    ],
)
def test_whom_a_file_is_open_to(path: str, mode: int, owner: int, reader: int, is_open: bool) -> None:
    """What root has put there for a container or for the service's group is as it is meant, and a pipe is no file."""
    assert is_exposed(Path(path), mode, owner=owner, reader=reader) is is_open
