"""Where metrics are told."""

from pydantic import SecretStr

from batchmill.settings.fields import Group, setting, whole
from batchmill.settings.values import LOCAL_HOSTS


class MetricsSettings(Group):
    """Where workers tell their metrics; the service tells its own, and those of its home's workers, at `/metrics`."""

    host: str = setting(
        "127.0.0.1",
        "BATCHMILL_METRICS_HOST",
        meaning="Where a worker listens for Prometheus; anywhere but on this machine it wants the token.",
        accepts="an address or a name of this machine",
    )
    port: int = whole(
        0,
        "BATCHMILL_METRICS_PORT",
        "The port of a worker's GET /metrics; 0 = it has none.",
        least=0,
        most=65_535,
    )
    token: SecretStr | None = setting(
        None,
        "BATCHMILL_METRICS_TOKEN",
        meaning="Whoever shows it as a bearer may read metrics, of workers and of the service, and nothing else.",
        accepts="16 characters or more",
        min_length=16,
        repr=False,
    )

    @property
    def is_local(self) -> bool:
        """Whether nobody but this machine can reach a worker's."""
        return self.host in LOCAL_HOSTS
