"""From when on something is not well."""

from batchmill.requests.jsonl import MB
from batchmill.requests.model import Lane
from batchmill.settings.fields import Group, seconds, whole


class HealthSettings(Group):
    """From when on a health check calls something degraded or failing. Set the same everywhere."""

    disk_low_mb: int = whole(
        1_000,
        "BATCHMILL_DISK_LOW_MB",
        "With less free than so many MB the disk is degraded.",
        most=1_000_000_000,
    )
    disk_full_mb: int = whole(
        200, "BATCHMILL_DISK_FULL_MB", "With less free than so many MB it is failing.", most=1_000_000_000
    )
    wait_high_s: float = seconds(
        60.0, "BATCHMILL_QUEUE_WAIT_HIGH_S", "Longest wait in lane high while nobody serves it.", least=1.0
    )
    wait_normal_s: float = seconds(
        600.0, "BATCHMILL_QUEUE_WAIT_NORMAL_S", "The same in lane normal.", least=1.0
    )
    wait_low_s: float = seconds(3_600.0, "BATCHMILL_QUEUE_WAIT_LOW_S", "The same in lane low.", least=1.0)

    @property
    def disk_low_bytes(self) -> int:
        """The same in bytes."""
        return self.disk_low_mb * MB

    @property
    def disk_full_bytes(self) -> int:
        """The same in bytes."""
        return self.disk_full_mb * MB

    def wait_ms(self, lane: Lane) -> int:
        """How long requests of a lane may wait."""
        return int(
            1000 * {Lane.HIGH: self.wait_high_s, Lane.NORMAL: self.wait_normal_s}.get(lane, self.wait_low_s)
        )
