"""Settings: where they come from, what is refused, and that secrets stay secret."""

import re
from pathlib import Path

import pytest

from batchmill.errors import SettingsError
from batchmill.settings import Source, load_settings

SECRET = "sk-not-for-your-eyes"


@pytest.fixture
def dotenv(tmp_path) -> Path:
    return tmp_path / ".env"


def load(dotenv: Path | None = None, **environ: str):
    return load_settings(environ, dotenv)


def test_defaults_need_no_variable():
    """An empty environment gives the embedded product."""
    settings = load()
    assert settings.home == Path.home() / ".batchmill"
    assert settings.database.url == f"sqlite:///{settings.home}/batchmill.db"
    assert settings.database.is_embedded
    assert settings.broker.is_embedded
    assert settings.openai.api_keys == ()
    assert settings.openai.base_url == "https://api.openai.com/v1"
    assert (settings.workers.concurrency, settings.workers.processes) == (64, 1)
    assert settings.input.max_line_bytes == 16_000_000


def test_the_environment_wins_over_dotenv(dotenv):
    """What is set for this one command counts before what is set for the folder."""
    dotenv.write_text("BATCHMILL_CONCURRENCY=8\nBATCHMILL_WORKERS=2\n")
    settings = load(dotenv, BATCHMILL_CONCURRENCY="16")
    assert (settings.workers.concurrency, settings.workers.processes) == (16, 2)
    sources = {row.variable: row.source for row in settings.describe()}
    assert sources["BATCHMILL_CONCURRENCY"] is Source.ENVIRONMENT
    assert sources["BATCHMILL_WORKERS"] is Source.DOTENV
    assert sources["BATCHMILL_HOME"] is Source.DEFAULT


def test_an_empty_variable_is_not_set_and_hides_dotenv(dotenv):
    """`OPENAI_API_KEY= batchmill …` takes the key away."""
    dotenv.write_text(f"OPENAI_API_KEY={SECRET}\n")
    assert load(dotenv, OPENAI_API_KEY="").openai.api_keys == ()


def test_the_home_is_absolute_and_holds_the_database(tmp_path, monkeypatch):
    """Whatever folder a child process starts in, it finds the same home."""
    monkeypatch.chdir(tmp_path)
    settings = load(BATCHMILL_HOME="mill")
    assert settings.home == tmp_path / "mill"
    assert settings.database.url == f"sqlite:///{tmp_path}/mill/batchmill.db"


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_every_spelling_of_postgresql_means_psycopg(scheme):
    """Hosting companies write it in three ways."""
    settings = load(DATABASE_URL=f"{scheme}://u:p@h/db")
    assert settings.database.url == "postgresql+psycopg://u:p@h/db"
    assert not settings.database.is_embedded


def test_redis_url_names_the_broker():
    """REDIS_URL, which many environments have, is enough; BROKER_URL overrides it."""
    assert load(REDIS_URL="redis://h:1/0").broker.url == "redis://h:1/0"
    assert load(REDIS_URL="redis://h:1/0", BROKER_URL="amqp://r").broker.url == "amqp://r"
    assert load(REDIS_URL="unix:///run/redis.sock").broker.url == "redis+socket:///run/redis.sock"


@pytest.mark.parametrize(
    ("variable", "value", "accepted"),
    [
        ("BATCHMILL_CONCURRENCY", "many", "a whole number from 1 to 10000"),
        ("BATCHMILL_CONCURRENCY", "0", "a whole number from 1 to 10000"),
        ("BATCHMILL_WORKERS", "1.5", "a whole number"),
        ("BATCHMILL_LEASE_S", "nan", "seconds, from 1"),
        ("BATCHMILL_CALL_TIMEOUT_S", "10m", "seconds, from 0.1"),
        ("BATCHMILL_MAX_LINE_MB", "-1", "a whole number from 1 to 1024"),
        ("BATCHMILL_LOG_LEVEL", "loud", "debug or info or warning or error"),
        ("BATCHMILL_LOG_FORMAT", "xml", "console or json"),
        ("BATCHMILL_HOME", "/srv/what?", "would end the URL"),
        ("BATCHMILL_PRICES", "/no/such/file", "an existing file"),
        ("DATABASE_URL", "mysql://h/db", "postgresql://"),
        ("DATABASE_URL", "postgresql+asyncpg://h/db", "postgresql://"),
        ("DATABASE_URL", "sqlite:///:memory:", "has to be a file"),
        ("DATABASE_URL", "h/db", "it is no URL"),
        ("BROKER_URL", "kafka://h", "kafka is not supported"),
        ("REDIS_URL", "http://h", "http is not supported"),
        ("OPENAI_BASE_URL", "api.openai.com", "it is no URL"),
    ],
)
def test_a_bad_value_names_the_variable_the_value_and_what_is_taken(variable, value, accepted):
    """The message is enough to correct it."""
    with pytest.raises(SettingsError, match=re.escape(accepted)) as refused:
        load(**{variable: value})
    assert f'{variable} is "{value}"' in refused.value.message
    assert "the environment" in refused.value.hint


def test_a_bad_value_in_dotenv_says_so(dotenv):
    """It is looked for in the right place."""
    dotenv.write_text("BATCHMILL_WORKERS=none\n")
    with pytest.raises(SettingsError) as refused:
        load(dotenv)
    assert ".env" in refused.value.hint


@pytest.mark.parametrize(
    "environ",
    [
        {"OPENAI_API_KEY": f"{SECRET} é"},
        {"OPENROUTER_API_KEY": f"{SECRET},"},
        {"GOOGLE_GEMINI_BASE_URL": f"https://h/?key={SECRET}"},
        {"DATABASE_URL": f"mysql://u:{SECRET}@h/db"},
        {"BROKER_URL": f"kafka://:{SECRET}/@x@h"},
        {"OPENAI_BASE_URL": f"ftp://u:{SECRET}@h"},
        {"DATABASE_URL": f"mysql://h/db?password={SECRET}"},
    ],
)
def test_no_message_shows_a_secret(environ):
    """Also a value that is refused may be a working password."""
    with pytest.raises(SettingsError) as refused:
        load(**environ)
    assert next(iter(environ)) in refused.value.message
    assert SECRET not in refused.value.message


def test_nothing_printed_shows_a_secret():
    """Neither the description nor a repr that ends up in a log."""
    settings = load(
        OPENAI_API_KEY=SECRET,
        DATABASE_URL=f"postgresql://u:{SECRET}@h/db?password={SECRET}",
        REDIS_URL=f"redis://:{SECRET}@h",
    )
    assert SECRET not in repr(settings)
    assert SECRET not in repr(settings.describe())
    values = {row.variable: row.value for row in settings.describe()}
    assert values["DATABASE_URL"] == "postgresql+psycopg://u:***@h/db?password=***"


def test_a_child_process_loads_the_same_settings():
    """What is handed down in memory holds everything, secrets included, also what was changed since."""
    settings = load(
        OPENAI_API_KEY=SECRET,
        OPENAI_BASE_URL="http://h/v2.0",
        OPENAI_ORG_ID="org-1.0",
        DATABASE_URL="postgres://u:p@h/db_1.0",
        BATCHMILL_HOME="/srv/mill-1.0",
        BATCHMILL_GRACE_S="2.5",
    )
    busier = settings.model_copy(update={"workers": settings.workers.model_copy(update={"concurrency": 7})})
    child = load_settings(busier.to_environ(), None)
    assert child.model_dump() == busier.model_dump()
    assert child.workers.concurrency == 7


def test_dotenv_is_read_as_shells_and_compose_do(dotenv):
    """Comments, export and quotes; other programs' variables are none of our business."""
    dotenv.write_text(
        "\ufeff# a note\n\nexport BATCHMILL_WORKERS=3  # three\nOPENAI_ORG_ID='org # 1'\n"
        'OPENAI_PROJECT_ID="p"  \nBATCHMILL_CACHE_TTL = a=b#c\nOTHER=$HOME\n'
    )
    settings = load(dotenv)
    assert settings.workers.processes == 3
    assert (settings.openai.org_id, settings.openai.project_id) == ("org # 1", "p")
    assert settings.cache.ttl == "a=b#c"


def test_a_missing_dotenv_is_no_fault(dotenv):
    """Most people have none."""
    assert load(dotenv).workers.processes == 1


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (f"A=1\n{SECRET}\n".encode(), "line 2 is not NAME=value"),
        (f'OPENAI_API_KEY="{SECRET}\n'.encode(), "line 1: the quotes around OPENAI_API_KEY"),
        (b"1A=2\n", "line 1 is not NAME=value"),
        (b"A=\xff\n", "is not UTF-8"),
    ],
)
def test_a_malformed_dotenv_names_the_line_and_not_its_text(dotenv, content, reason):
    """The text may be a key that slipped onto a line of its own."""
    dotenv.write_bytes(content)
    with pytest.raises(SettingsError, match=reason) as refused:
        load(dotenv)
    assert SECRET not in refused.value.message


def test_settings_cannot_be_changed():
    """They are loaded once and passed in."""
    with pytest.raises(ValueError, match="frozen"):
        load().workers.concurrency = 1
