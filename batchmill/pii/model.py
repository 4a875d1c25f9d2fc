"""What is looked for, and what is not found."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

RULES_VERSION: Final = 1
"""Counted up whenever other things are found than before."""


class Kind(StrEnum):
    """What a placeholder says that it stands for."""

    SECRET = "SECRET"
    EMAIL = "EMAIL"
    IBAN = "IBAN"
    CARD = "CARD"
    NATIONAL_ID = "NATIONAL_ID"
    IP = "IP"
    PHONE = "PHONE"


FOUND: Final[Mapping[Kind, str]] = {
    Kind.SECRET: "keys and tokens of known shapes, bearer tokens, private keys, JWTs, passwords in URLs",
    Kind.EMAIL: "addresses with a domain, ASCII",
    Kind.IBAN: "by country, length and checksum",
    Kind.CARD: "13 to 19 digits of a known brand, by the Luhn checksum, together or in the groups of a card",
    Kind.NATIONAL_ID: (
        "US SSN, Spanish DNI and NIE, Italian codice fiscale, French NIR, Brazilian CPF, British NINO, Swedish"
        " personnummer, Indian Aadhaar, Chinese resident id; behind their name also Polish PESEL, German IdNr,"
        " Dutch BSN, NHS number; all by checksum where they have one (SSN and NINO have none)"
    ),
    Kind.IP: "public IPv4 and IPv6 addresses",
    Kind.PHONE: (
        "valid numbers with +country code; written as in the US, or with a leading 0 as in 13 countries;"
        " others behind a word such as phone, tel, mobile"
    ),
}
"""What is found of each kind."""

MISSED: Final = (
    "names of people, also in e-mail greetings and signatures",
    "postal addresses, places, dates of birth",
    "whatever a text tells of somebody in words: health, beliefs, work, family",
    "user names, account and customer numbers, licence plates, passports, ids of countries that are not listed",
    "numbers with a typing error, spelt out in words, in other digits than 0-9, or split over lines",
    "telephone numbers without a country code, the form of a number, or a word before them",
    "secrets of shapes that are not known, and passwords in plain text",
    "what is in images, sound and files",
)
"""What detection by pattern misses, in plain words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """A way in which something of a kind is written.

    Attributes:
        regex: Finds candidates: the group `it` where it has one, else all of a match.
        needs: What every text with a candidate holds; "" = nothing in particular.
        gate: Finds something in every text with a candidate, and is faster; several patterns may share it.
        take: How much of a candidate, from its start, is really one; 0 = nothing.
    """

    kind: Kind
    regex: re.Pattern[str]
    needs: str = ""
    gate: re.Pattern[str] | None = None
    take: Callable[[str], int] = len
