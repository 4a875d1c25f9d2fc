"""The models that the sandbox names: those it has a price for, by wire, and those that do something of their own."""

from collections.abc import Sequence

from batchmill.sandbox.bill import PRICES
from batchmill.sandbox.compose import CACHED, MANNERS
from batchmill.sandbox.draws import PREFIX
from batchmill.sandbox.faults import FAULTS, SAME_AS
from batchmill.sandbox.prompts import WireName


def named_models(wire: WireName) -> Sequence[str]:
    """For a list of models; any other name is answered as well."""
    priced = [model for model in PRICES if wire_of(model) is wire]
    return [*priced, *(PREFIX + name for name in (*FAULTS, *SAME_AS)), *MANNERS, CACHED]


def wire_of(model: str) -> WireName:
    """Whose model it is, by its name."""
    if model.startswith("claude-"):
        return WireName.ANTHROPIC
    return WireName.GEMINI if model.startswith("gemini-") else WireName.OPENAI
