"""Reads a `.env` file: `NAME=value` lines, as a shell or Docker Compose takes them, without substitution."""

import re
from pathlib import Path

from batchmill.errors import SettingsError

_ASSIGNMENT = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*)", re.DOTALL)
_QUOTED = re.compile(r"""(["'])(.*?)\1\s*(?:#.*)?""")
_COMMENT = re.compile(r"(?:^|\s)#.*")


def read_dotenv(path: Path, *, must_exist: bool = False) -> dict[str, str]:
    """The variables a file sets, nothing when there is no such file; the last assignment of a name counts.

    Taken: blank lines, `#` comments (after a space also behind a value), `export`, single and double quotes.
    Backslashes and `$` stand for themselves, and a value ends with its line.

    Args:
        must_exist: Refuse when there is no such file.

    Raises:
        SettingsError: The file cannot be read, or a line of it is no assignment. The message has the line's
            number and never its text, which may be a secret.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        if must_exist:
            raise SettingsError(f'there is no "{path}"', "correct its name, or make it") from None
        return {}
    except UnicodeDecodeError as error:
        raise SettingsError(f'"{path}" is not UTF-8', "save it as UTF-8") from error
    except OSError as error:
        hint = "check its permissions, or move it away if it is not meant for batchmill"
        raise SettingsError(f'"{path}" cannot be read: {error.strerror}', hint) from error
    variables = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip() and not line.lstrip().startswith("#"):
            name, value = _assignment(path, number, line.strip())
            variables[name] = value
    return variables


def _assignment(path: Path, number: int, line: str) -> tuple[str, str]:
    match = _ASSIGNMENT.fullmatch(line)
    if match is None:
        raise SettingsError(
            f'"{path}" line {number} is not NAME=value', "comment it out with # if it is a note"
        )
    name, value = match.groups()
    if not value.startswith(('"', "'")):
        return name, _COMMENT.sub("", value).strip()
    quoted = _QUOTED.fullmatch(value)
    if quoted is None:
        raise SettingsError(
            f'"{path}" line {number}: the quotes around {name} do not match',
            "quote the whole value, or none of it",
        )
    return name, quoted.group(2)
