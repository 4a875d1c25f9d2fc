"""Whether a candidate is one: by checksum where there is one, by the plans of telephone numbers. Needs the extra.

Each check takes a candidate and answers how much of it, from its start, is really one: a pattern may have taken a word
or a number too much along.
"""

import ipaddress
import re
from collections.abc import Callable, Iterator
from typing import Final

import phonenumbers
from phonenumbers import NumberParseException, PhoneNumberType
from stdnum import iban as ibans
from stdnum import luhn
from stdnum.br import cpf
from stdnum.cn import ric
from stdnum.de import idnr
from stdnum.es import dni, nie
from stdnum.fr import nir
from stdnum.gb import nhs
from stdnum.in_ import aadhaar
from stdnum.it import codicefiscale
from stdnum.nl import bsn
from stdnum.pl import pesel
from stdnum.se import personnummer
from stdnum.us import ssn

_SEPARATORS = re.compile(r"[ -]")
_GAP = re.compile(r"[ ./-]+(?=[0-9A-Za-z(]*$)")
_BRANDS: Final = (
    (re.compile(r"4"), (13, 16, 19)),
    (re.compile(r"5[1-5]|222[1-9]|22[3-9]|2[3-6]|27[01]|2720"), (16,)),
    (re.compile(r"3[47]"), (15,)),
    (re.compile(r"6011|64[4-9]|65"), (16, 19)),
    (re.compile(r"35(?:2[89]|[3-8])"), (16, 19)),
    (re.compile(r"30[0-5]|3[689]"), (14,)),
    (re.compile(r"62|81"), (16, 17, 18, 19)),
    (re.compile(r"50|5[678]|6"), (16, 18, 19)),
)
"""Visa, Mastercard, American Express, Discover, JCB, Diners Club, UnionPay, Maestro: beginnings and lengths."""
_WITH_ZERO: Final = ("GB", "DE", "FR", "NL", "AT", "CH", "BE", "SE", "IT", "AU", "JP", "ZA", "IN")
_DIGITS_WITH_ZERO: Final = range(9, 13)
"""Fewer are more often a date, more are something else."""
_NOBODYS: Final = (PhoneNumberType.PERSONAL_NUMBER, PhoneNumberType.UNKNOWN)
"""Ranges that are hardly in use, and that round numbers fall into: 500-200-1000."""
_HAS_BOTH = re.compile(r"(?=.*[0-9])(?=.*[A-Za-z])", re.DOTALL)


def token(candidate: str) -> int:
    """A token has letters and digits."""
    return len(candidate) if _HAS_BOTH.match(candidate) else 0


def iban(candidate: str) -> int:
    """The longest beginning that is one."""
    return _longest(candidate, _is_iban)


def _is_iban(candidate: str) -> bool:
    digits = _SEPARATORS.sub("", candidate).upper()
    # The checksum alone is ten times as fast as all that the library looks at.
    return int("".join(str(int(char, 36)) for char in digits[4:] + digits[:4])) % 97 == 1 and bool(
        ibans.is_valid(digits)
    )


def card(candidate: str) -> int:
    """The longest beginning that is the number of a brand's card."""
    return _longest(candidate, _is_card)


def _is_card(candidate: str) -> bool:
    digits = _SEPARATORS.sub("", candidate)
    brand = any(len(digits) in lengths and begin.match(digits) for begin, lengths in _BRANDS)
    return brand and len(set(digits)) > 1 and bool(luhn.is_valid(digits))


def _whole(is_valid: Callable[[str], bool]) -> Callable[[str], int]:
    return lambda candidate: len(candidate) if is_valid(candidate) else 0


us_ssn = _whole(ssn.is_valid)
it_codice_fiscale = _whole(codicefiscale.is_valid)
fr_nir = _whole(nir.is_valid)
br_cpf = _whole(cpf.is_valid)
se_personnummer = _whole(personnummer.is_valid)
in_aadhaar = _whole(aadhaar.is_valid)
cn_resident = _whole(ric.is_valid)


def es_nif(candidate: str) -> int:
    """A Spanish DNI or NIE."""
    return len(candidate) if dni.is_valid(candidate) or nie.is_valid(candidate) else 0


_NAMED: Final = (ssn, idnr, pesel, bsn, nhs, aadhaar, personnummer, cpf, nir)


def named_id(candidate: str) -> int:
    """The longest beginning that is one of those that are named before."""
    return _longest(candidate, lambda text: any(each.is_valid(text.replace(".", "")) for each in _NAMED))


def ip(candidate: str) -> int:
    """A public address: those of private networks and of documentation are nobody's."""
    try:
        return len(candidate) if ipaddress.ip_address(candidate).is_global else 0
    except ValueError:
        return 0


def phone_anywhere(candidate: str) -> int:
    """A number with its country's code."""
    return _longest(candidate, lambda text: _is_phone(text, None))


def phone_in_us(candidate: str) -> int:
    """A number as it is written in North America."""
    return len(candidate) if _is_phone(candidate, "US") else 0


def phone_with_zero(candidate: str) -> int:
    """A number with the 0 that is dialled within many a country."""
    return _longest(candidate, _is_with_zero)


def phone_named(candidate: str) -> int:
    """A number behind a word that says so."""
    return _longest(candidate, lambda text: _is_phone(text, "US") or _is_with_zero(text))


def _is_with_zero(text: str) -> bool:
    digits = sum(char.isdigit() for char in text)
    return digits in _DIGITS_WITH_ZERO and any(_is_phone(text, region) for region in _WITH_ZERO)


def _is_phone(text: str, region: str | None) -> bool:
    try:
        number = phonenumbers.parse(text, region)
    except NumberParseException:
        return False
    if not phonenumbers.is_valid_number(number):
        return False
    return region is None or phonenumbers.number_type(number) not in _NOBODYS


def _longest(candidate: str, is_one: Callable[[str], bool]) -> int:
    return next((len(part) for part in _beginnings(candidate) if is_one(part)), 0)


def _beginnings(candidate: str) -> Iterator[str]:
    """All of it, then less by one group at a time."""
    while candidate:
        yield candidate
        gap = _GAP.search(candidate)
        if gap is None:
            return
        candidate = candidate[: gap.start()]
