"""Views of quotes, as JSON shows them. Money is exact dollars as text."""

from collections.abc import Sequence
from typing import Any

from batchmill.money.nanos import usd_text
from batchmill.quotes.quote import ModelQuote, Quote
from batchmill.quotes.tally import Tally


def estimates_view(quotes: Sequence[Quote]) -> dict[str, Any]:
    """What one request costs at each of some models, cheapest first."""
    return {"estimates": [_estimate_view(model) for model in cheapest_first(quotes)]}


def cheapest_first(quotes: Sequence[Quote]) -> list[ModelQuote]:
    """The models of quotes of one request; those without a known price last."""
    return sorted((quote.models[0] for quote in quotes), key=lambda model: cheapness(model.tally))


def cheapness(tally: Tally) -> tuple[bool, int, int]:
    """By which quotes are put in order."""
    return bool(tally.unpriced), tally.expected_nanos, tally.most_nanos


def view(quote: Quote) -> dict[str, Any]:
    """A quote of a batch."""
    return {
        "models": [_model_view(model) for model in quote.models],
        "total": _tally_view(quote.total) | {"duration_s": _rounded(quote.duration_s)},
        "budgets": [
            {
                "budget": budget.title,
                "left_usd": usd_text(budget.left_nanos),
                "expected_usd": usd_text(budget.expected_nanos),
                "most_usd": usd_text(budget.most_nanos),
                "verdict": budget.verdict,
            }
            for budget in quote.budgets
        ],
        "fits": quote.fits,
    }


def _model_view(model: ModelQuote) -> dict[str, Any]:
    return {
        "provider": model.provider,
        "model": model.model,
        **_tally_view(model.tally),
        "output_basis": model.output_basis,
        "latency_ms": model.latency_ms,
        "latency_basis": model.latency_basis,
        "duration_s": _rounded(model.duration_s),
    }


def _estimate_view(model: ModelQuote) -> dict[str, Any]:
    tally = _tally_view(model.tally)
    wanted = ("input_tokens", "is_exact", "output_tokens", "expected_usd", "most_usd")
    return {
        "provider": model.provider,
        "model": model.model,
        **{name: tally[name] for name in wanted},
        "unpriced_reason": model.tally.reason or None,
        "output_basis": model.output_basis,
    }


def _tally_view(tally: Tally) -> dict[str, Any]:
    is_priced = tally.unpriced < tally.lines
    return {
        "lines": tally.lines,
        "input_tokens": tally.input_tokens,
        "is_exact": tally.is_exact,
        "hits": tally.hits,
        "repeats": tally.repeats,
        "calls": tally.calls,
        "output_tokens": tally.output_tokens,
        "expected_usd": usd_text(tally.expected_nanos) if is_priced else None,
        "most_usd": usd_text(tally.most_nanos) if is_priced else None,
        "unpriced_lines": tally.unpriced,
        "unpriced_reason": tally.reason or None,
        "unpriced_fallback_lines": tally.unpriced_others,
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
