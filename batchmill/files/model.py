"""What a file is: its words and states."""

import secrets
from enum import StrEnum

FILE_PREFIX = "file-"


class Purpose(StrEnum):
    """What a file is for, in OpenAI's words."""

    BATCH = "batch"
    BATCH_OUTPUT = "batch_output"
    FINE_TUNE = "fine-tune"
    ASSISTANTS = "assistants"
    VISION = "vision"
    USER_DATA = "user_data"
    EVALS = "evals"


TAKEN = tuple(purpose for purpose in Purpose if purpose is not Purpose.BATCH_OUTPUT)
"""What may be uploaded."""


class FileState(StrEnum):
    """uploading → processed → deleted. Only the second can be seen."""

    UPLOADING = "uploading"
    PROCESSED = "processed"
    DELETED = "deleted"


def new_file_id() -> str:
    """A fresh public name for a file: `file-` and 24 hexadecimal digits."""
    return FILE_PREFIX + secrets.token_hex(12)
