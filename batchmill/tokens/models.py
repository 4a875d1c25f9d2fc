"""Which encoding a model's tokens are counted with, and how far that count can be trusted."""

from dataclasses import dataclass
from functools import lru_cache

from batchmill.tokens.encodings import EncodingName

CLAUDE_PERCENT = 150
"""Claude to o200k_base. Anthropic says that Opus 4.7 and later make up to 1.35 times the tokens of the models
before; independent measurements had up to 1.46 times on English prose, 1.0 on Chinese. Leans high."""
OTHERS_PERCENT = 120
"""Gemini, Llama, Mistral, Qwen, ...: vocabularies of the same size, trained on other text. Leans high."""

_HARMONY = "o200k_harmony"
"""gpt-oss: o200k_base with more special tokens, which do not occur in text."""
_FRAMED_AS_DOCUMENTED = ("gpt-3.5-turbo", "gpt-35-turbo", "gpt-4")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokenizer:
    """How the tokens of a model are counted.

    Attributes:
        percent: What the encoding's count is multiplied with, in hundredths.
        is_exact: The model's own encoding is known: text is counted to the token.
        is_framing_exact: So is what a chat adds to its text.
    """

    encoding: EncodingName
    percent: int = 100
    is_exact: bool = True
    is_framing_exact: bool = False


@lru_cache(maxsize=1_024)
def tokenizer_of(model: str) -> Tokenizer:
    """How to count for a model, from its name alone; an unknown one is estimated. Never raises.

    OpenAI's models go by tiktoken's own table. A vendor's prefix (`openai/gpt-4o`) is looked behind, and so is
    a fine-tuned model's (`ft:gpt-4.1-mini:acme::id`), where tiktoken takes every gpt-4.1 for a gpt-4.

    Honest weakness: whoever serves another model under one of OpenAI's names is believed.
    """
    base = base_name(model)
    encoding = _openai_encoding(base)
    if encoding is None:
        percent = CLAUDE_PERCENT if "claude" in model.casefold() else OTHERS_PERCENT
        return Tokenizer(encoding=EncodingName.O200K, percent=percent, is_exact=False)
    return Tokenizer(encoding=encoding, is_framing_exact=base.startswith(_FRAMED_AS_DOCUMENTED))


def base_name(model: str) -> str:
    """A model's name behind a vendor's prefix, and that of the model a fine-tuned one was made from."""
    base = model.removeprefix("openai/")
    return base.split(":")[1] if base.startswith("ft:") else base


def _openai_encoding(model: str) -> EncodingName | None:
    from tiktoken.model import encoding_name_for_model  # here: it takes 0.05 s to import

    try:
        name = encoding_name_for_model(model)
    except KeyError:
        return None
    if name == _HARMONY:
        return EncodingName.O200K
    return EncodingName(name) if name in set(EncodingName) else None
