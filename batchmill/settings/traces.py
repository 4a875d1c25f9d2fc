"""Where traces are sent, and which; by the variables that OpenTelemetry has made a standard."""

from enum import StrEnum
from typing import Annotated

from pydantic import SecretStr

from batchmill.settings.fields import Group, HttpUrl, LowerCase, choice, setting

TRACES_PATH = "/v1/traces"


class Sampler(StrEnum):
    """Which calls are traced."""

    ALWAYS_ON = "always_on"
    ALWAYS_OFF = "always_off"
    RATIO = "traceidratio"
    PARENT_ALWAYS_ON = "parentbased_always_on"
    PARENT_ALWAYS_OFF = "parentbased_always_off"
    PARENT_RATIO = "parentbased_traceidratio"


class TraceSettings(Group):
    """Traces, with the extra `otel`. Off unless an endpoint is set.

    What else OpenTelemetry's SDK reads (timeouts, certificates, compression, resource attributes, batch sizes), it
    reads from the environment itself.
    """

    endpoint: HttpUrl | None = setting(
        None,
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        meaning="Where traces of calls are sent, by OTLP over HTTP; unset = nowhere.",
        accepts="the base URL of a collector, such as http://localhost:4318",
    )
    traces_endpoint: HttpUrl | None = setting(
        None,
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        meaning="The same for traces alone, used as it is.",
        accepts="a URL, such as http://localhost:4318/v1/traces",
    )
    headers: SecretStr | None = setting(
        None,
        "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
        "OTEL_EXPORTER_OTLP_HEADERS",
        meaning="Headers that the collector wants, a key among them.",
        accepts="name=value, comma between several",
        repr=False,
    )
    sampler: Annotated[Sampler, LowerCase] = choice(
        Sampler.PARENT_ALWAYS_ON, "OTEL_TRACES_SAMPLER", "Which calls are traced."
    )
    ratio: float = setting(
        1.0,
        "OTEL_TRACES_SAMPLER_ARG",
        meaning="The share of calls that the samplers by ratio let through.",
        accepts="a number from 0 to 1",
        ge=0.0,
        le=1.0,
        allow_inf_nan=False,
    )
    service_name: str = setting(
        "batchmill", "OTEL_SERVICE_NAME", meaning="What the sender of traces is called.", accepts="text"
    )
    is_disabled: bool = setting(
        False,
        "OTEL_SDK_DISABLED",
        meaning="Send no traces, whatever else is set.",
        accepts="true or false",
    )

    @property
    def url(self) -> str | None:
        """Where traces go; None = nowhere."""
        if self.is_disabled or self.sampler is Sampler.ALWAYS_OFF:
            return None
        if self.traces_endpoint is not None:
            return self.traces_endpoint
        return None if self.endpoint is None else self.endpoint.rstrip("/") + TRACES_PATH
