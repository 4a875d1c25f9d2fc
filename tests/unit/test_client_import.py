"""A producer's import of batchmill is cheap: it holds what speaks to the service, and nothing of the service."""

import subprocess
import sys

import pytest

import batchmill
from batchmill.errors import BatchmillError

HEAVY = (
    *("celery", "kombu", "sqlalchemy", "alembic", "psycopg", "fastapi", "starlette", "uvicorn"),
    *(
        "pydantic",
        "openai",
        "httpx2",
        "httpx",
        "tiktoken",
        "genai_prices",
        "rich",
        "structlog",
        "click",
        "asyncio",
    ),
)


@pytest.mark.parametrize(
    "code",
    [
        "import batchmill",
        "from batchmill import Client",
        "from batchmill import Client; Client('http://mill')",
    ],
)
def test_nothing_heavy_is_imported(code):
    """Neither the import nor the making of a client loads what only the service, or the first call, needs."""
    probe = f"{code}\nimport sys\nprint([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_importing_batchmill_imports_nothing_of_it():
    """What a producer does not ask for is not loaded."""
    probe = "import sys, batchmill\nprint([name for name in sys.modules if name.startswith('batchmill.')])"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", batchmill.__all__)
def test_every_public_name_is_there_and_says_what_it_is(name):
    """Each can be imported, has a docstring of its own, and so has each public method."""
    value = getattr(batchmill, name)
    assert value.__doc__
    methods = [
        member
        for title, member in vars(value).items()
        if not title.startswith("_") and (callable(member) or isinstance(member, property))
    ]
    assert all(member.__doc__ for member in methods)


def test_a_wrong_name_is_told():
    """An import of what is not there fails as imports do."""
    with pytest.raises(ImportError):
        from batchmill import Klient  # noqa: F401


def test_every_error_is_one_of_ours():
    """`except BatchmillError` catches whatever the client raises."""
    errors = [getattr(batchmill, name) for name in batchmill.__all__ if name.endswith("Error")]
    assert len(errors) > 15
    assert all(issubclass(error, BatchmillError) for error in errors)
