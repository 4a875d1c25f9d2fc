"""Training data, and what is kept of people's data in answers."""

from pathlib import Path

from batchmill.settings.fields import AbsolutePath, Group, choice, setting, whole
from batchmill.training.model import Format


class TrainingSettings(Group):
    """The nightly export of training data."""

    folder: AbsolutePath | None = setting(
        None,
        "BATCHMILL_TRAINING_DIR",
        meaning="Where the nightly exports are; by default in the home.",
        accepts="a folder",
    )
    format: Format = choice(
        Format.OPENAI, "BATCHMILL_TRAINING_FORMAT", "Whose fine-tuning the nightly export is for."
    )
    kept: int = whole(7, "BATCHMILL_TRAINING_KEEP", "Nightly exports that are kept, the newest.", most=10_000)

    def folder_in(self, home: Path) -> Path:
        """Where the nightly exports are."""
        return self.folder or home / "training"


class PrivacySettings(Group):
    """What is kept of people's data."""

    redact_answers: bool = setting(
        False,
        "BATCHMILL_REDACT_ANSWERS",
        meaning="Replace addresses, numbers and secrets in answers by placeholders before they are kept.",
        accepts="true or false",
    )
