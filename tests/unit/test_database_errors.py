"""What is said of a database in trouble: which one, why, and what to do about just that."""

import pytest

from db.drivers import database_error

URL = "postgresql+psycopg://mill:secret@db.example/batchmill"


@pytest.mark.parametrize(
    ("cause", "advice"),
    [
        ('could not extend file "base/1/2": No space left on device\nHINT:  Check free disk space.', "free some space"),
        ("database or disk is full", "free some space"),
        ('FATAL:  password authentication failed for user "mill"', "correct user and password in DATABASE_URL"),
        ("FATAL:  sorry, too many clients already", "raise max_connections"),
        ("FATAL:  remaining connection slots are reserved for roles with SUPERUSER", "fewer worker processes"),
        ('FATAL:  database "batchmill" does not exist', "create it"),
        ("connection refused", "check that the database is up"),
        ("", "check that the database is up"),
    ],
)  # fmt: skip
def test_the_cause_has_its_own_advice(cause: str, advice: str) -> None:
    """The first line of the complaint, the place without its password, and the next step."""
    error = database_error(URL, cause)
    assert error.message.startswith("database postgresql+psycopg://mill:***@db.example/batchmill: ")
    assert error.message.endswith(cause.partition("\n")[0] or "no reason given")
    assert advice in error.hint
