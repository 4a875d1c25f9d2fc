"""What an answer used up, in tokens by kind."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens of one answer; every count is a whole number of tokens, never negative.

    Attributes:
        input_tokens: All input, cached and cache-written tokens included.
        cached_tokens: The part of the input read from the provider's cache.
        cache_write_5m_tokens: The part of the input written to a cache that lives five minutes.
        cache_write_1h_tokens: The part of the input written to a cache that lives an hour.
        output_tokens: All output, reasoning included.
        reasoning_tokens: The part of the output that was thinking.
        audio_input_tokens: The part of the input that was sound.
        audio_output_tokens: The part of the output that was sound.
        reported_cost_usd: What the provider itself says it cost, as decimal text; None when it does not say.
    """

    input_tokens: int = 0
    cached_tokens: int = 0
    cache_write_5m_tokens: int = 0
    cache_write_1h_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    audio_input_tokens: int = 0
    audio_output_tokens: int = 0
    reported_cost_usd: str | None = None
