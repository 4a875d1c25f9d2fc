"""The HTTP service: where it listens, what it takes, where its files are."""

from pathlib import Path

from pydantic import SecretStr

from batchmill.requests.jsonl import MB
from batchmill.settings.fields import Group, StoreUrl, setting, whole
from batchmill.settings.values import LOCAL_HOSTS

DEFAULT_PORT = 8400


class ServiceSettings(Group):
    """The HTTP service, and the command line's `batchmill serve` and `batchmill up`."""

    host: str = setting(
        "127.0.0.1",
        "BATCHMILL_HOST",
        meaning="Where the service listens; anywhere but on this machine it wants keys.",
        accepts="an address or a name of this machine",
    )
    port: int = whole(
        DEFAULT_PORT, "BATCHMILL_PORT", "The port it listens on; 0 = a free one.", least=0, most=65_535
    )
    files_url: StoreUrl | None = setting(
        None,
        "BATCHMILL_FILES_URL",
        meaning="Where uploaded and result files are kept; by default in the home.",
        accepts="a folder, or the URL of a store: s3://bucket/folder",
        repr=False,
    )
    max_file_mb: int = whole(
        5_000, "BATCHMILL_MAX_FILE_MB", "Largest file that is taken, in MB.", most=1_000_000
    )
    files_quota_mb: int = whole(
        50_000,
        "BATCHMILL_FILES_QUOTA_MB",
        "Most that the files of one tenant may take, in MB.",
        most=1_000_000_000,
    )
    max_body_mb: int = whole(
        32, "BATCHMILL_MAX_BODY_MB", "Largest body of a request, files aside, in MB.", most=1_024
    )
    key_rpm: int = whole(
        6_000, "BATCHMILL_KEY_RPM", "Most requests a minute with one key, in each process.", most=10_000_000
    )
    keys_secret: SecretStr | None = setting(
        None,
        "BATCHMILL_KEYS_SECRET",
        meaning="API keys are hashed with it; a new one makes all of them void. By default one kept in the home.",
        accepts="32 characters or more",
        min_length=32,
        repr=False,
    )

    @property
    def max_file_bytes(self) -> int:
        """The same in bytes."""
        return self.max_file_mb * MB

    @property
    def files_quota_bytes(self) -> int:
        """The same in bytes."""
        return self.files_quota_mb * MB

    @property
    def max_body_bytes(self) -> int:
        """The same in bytes."""
        return self.max_body_mb * MB

    @property
    def is_local(self) -> bool:
        """Whether nobody but this machine can reach it."""
        return self.host in LOCAL_HOSTS

    def store_url(self, home: Path) -> str:
        """Where its files are."""
        return self.files_url or str(home / "files")
