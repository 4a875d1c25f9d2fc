"""How what is looked for is written: patterns that find candidates, and the checks that keep or drop each.

They stand in the order in which they are tried: what holds others inside comes first (an address in a URL with a
password). No pattern looks back over more than a few characters or repeats without bound, so that time grows with the
text and no faster.
"""

import re
from typing import Final

from batchmill.pii import checks
from batchmill.pii.model import Kind, Pattern

_DIGITS_NOT_BEFORE = r"(?<![\w.,/+-])"
_MANY_DIGITS = re.compile(r"[0-9](?:[ ()./+-]{0,3}[0-9]){6}")
"""Most texts have no seven digits beside each other, and need not be looked at for twelve kinds of numbers."""
_LONG_WORD = re.compile(r"[A-Za-z0-9_-]{10}")
_SECRETS = "|".join(
    (
        r"sk-[A-Za-z0-9_-]{20,200}",
        r"[sr]k_(?:live|test)_[A-Za-z0-9]{16,200}",
        r"gh[pousr]_[A-Za-z0-9]{30,255}",
        r"github_pat_[A-Za-z0-9_]{30,255}",
        r"glpat-[A-Za-z0-9_-]{20,200}",
        r"xox[abeprs]-[A-Za-z0-9-]{10,250}",
        r"(?:AKIA|ASIA)[0-9A-Z]{16}(?![0-9A-Za-z])",
        r"AIza[0-9A-Za-z_-]{35}",
        r"hf_[A-Za-z0-9]{30,100}",
        r"npm_[A-Za-z0-9]{36}",
        r"whsec_[A-Za-z0-9+/=]{24,120}",
        r"bm-[0-9a-f]{12}-[A-Za-z0-9_-]{43}",
        r"eyJ[A-Za-z0-9_-]{8,4000}\.[A-Za-z0-9_-]{8,8000}\.[A-Za-z0-9_-]{8,2000}",
    )
)
_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])"
_NAMED_ID = (
    r"pesel|steuer-?id(?:entifikationsnummer)?|idnr|bsn|burgerservicenummer|nhs|aadhaar|personnummer|ssn"
    r"|social security|cpf|nir|tax id|national id"
)
_PHONE_WORD = (
    r"tel(?:ef[oó]no?|ephone)?|phone|mobile|cell|fax|whatsapp|handy|sms|call(?: me| us)?|reach (?:me|us)|rufnummer"
    r"|t[eé]l[eé]phone|portable"
)

PATTERNS: Final = (
    Pattern(
        kind=Kind.SECRET,
        needs="-----BEGIN",
        regex=re.compile(
            r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----.*?(?:-----END [A-Z ]{0,30}PRIVATE KEY-----|\Z)",
            re.DOTALL,
        ),
    ),
    Pattern(
        kind=Kind.SECRET,
        needs="://",
        regex=re.compile(r"(?<=://)[^\s/@:\[\]\"']{1,100}:[^\s/@\"']{1,200}(?=@)"),
    ),
    Pattern(
        kind=Kind.SECRET,
        gate=_LONG_WORD,
        regex=re.compile(rf"(?<![A-Za-z0-9_-])(?:{_SECRETS})"),
    ),
    Pattern(
        kind=Kind.SECRET,
        gate=_LONG_WORD,
        regex=re.compile(r"\b[Bb]earer (?P<it>[A-Za-z0-9._~+/-]{20,4000}={0,2})"),
        take=checks.token,
    ),
    Pattern(
        kind=Kind.EMAIL,
        needs="@",
        regex=re.compile(
            r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9_%+-][A-Za-z0-9._%+-]{0,63}"
            r"@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.){1,8}[A-Za-z]{2,24}(?![A-Za-z0-9_])"
        ),
    ),
    Pattern(
        kind=Kind.IBAN,
        regex=re.compile(
            r"(?<![A-Za-z0-9])[A-Za-z]{2}[0-9]{2}(?:[ -]?[A-Za-z0-9]{4}){2,7}(?:[ -]?[A-Za-z0-9]{1,4})?(?![A-Za-z0-9])"
        ),
        take=checks.iban,
    ),
    Pattern(
        kind=Kind.CARD,
        gate=_MANY_DIGITS,
        regex=re.compile(
            r"(?<![\w./+])(?:[2-6][0-9]{12,18}|[2-6][0-9]{3}([ -])[0-9]{4}\1[0-9]{4}\1[0-9]{1,7}"
            r"|3[0-9]{3}([ -])[0-9]{6}\2[0-9]{4,5})(?!\w|[.,][0-9])"
        ),
        take=checks.card,
    ),
    Pattern(
        kind=Kind.NATIONAL_ID,
        gate=_MANY_DIGITS,
        regex=re.compile(rf"{_DIGITS_NOT_BEFORE}[0-9]{{3}}-[0-9]{{2}}-[0-9]{{4}}(?![\w-])"),
        take=checks.us_ssn,
    ),
    Pattern(
        kind=Kind.NATIONAL_ID,
        gate=_MANY_DIGITS,
        regex=re.compile(r"(?<![\w-])(?:[0-9]{8}|[XYZxyz]-?[0-9]{7})-?[A-Za-z](?![\w-])"),
        take=checks.es_nif,
    ),
    Pattern(
        kind=Kind.NATIONAL_ID,
        gate=_LONG_WORD,
        regex=re.compile(
            r"(?<!\w)[A-Za-z]{6}[0-9LMNP-V]{2}[A-Za-z][0-9LMNP-V]{2}[A-Za-z][0-9LMNP-V]{3}[A-Za-z](?!\w)"
        ),
        take=checks.it_codice_fiscale,
    ),
    Pattern(
        kind=Kind.NATIONAL_ID,
        gate=_MANY_DIGITS,
        regex=re.compile(
            rf"{_DIGITS_NOT_BEFORE}[12] ?[0-9]{{2}} ?[0-9]{{2}} ?[0-9][0-9AB] ?[0-9]{{3}} ?[0-9]{{3}} ?[0-9]{{2}}(?!\w)"
        ),
        take=checks.fr_nir,
    ),
    Pattern(
        kind=Kind.NATIONAL_ID,
        gate=_MANY_DIGITS,
        regex=re.compile(rf"{_DIGITS_NOT_BEFORE}[0-9]{{3}}\.[0-9]{{3}}\.[0-9]{{3}}-[0-9]{{2}}(?!\w)"),
        take=checks.br_cpf,
    ),
    Pattern(
        kind=Kind.NATIONAL_ID,
        regex=re.compile(
            r"(?<!\w)(?!BG|GB|KN|NK|NT|TN|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z]"
            r" ?[0-9]{2} ?[0-9]{2} ?[0-9]{2} ?[A-D](?!\w)"
        ),
    ),
    Pattern(
        kind=Kind.NATIONAL_ID,
        gate=_MANY_DIGITS,
        regex=re.compile(rf"{_DIGITS_NOT_BEFORE}[0-9]{{6}}[-+][0-9]{{4}}(?![\w-])"),
        take=checks.se_personnummer,
    ),
    Pattern(
        kind=Kind.NATIONAL_ID,
        gate=_MANY_DIGITS,
        regex=re.compile(rf"{_DIGITS_NOT_BEFORE}[2-9][0-9]{{3}}([ -])[0-9]{{4}}\1[0-9]{{4}}(?![\w-]| [0-9])"),
        take=checks.in_aadhaar,
    ),
    Pattern(
        kind=Kind.NATIONAL_ID,
        gate=_MANY_DIGITS,
        regex=re.compile(rf"{_DIGITS_NOT_BEFORE}[1-9][0-9]{{16}}[0-9Xx](?!\w)"),
        take=checks.cn_resident,
    ),
    Pattern(
        kind=Kind.NATIONAL_ID,
        gate=_MANY_DIGITS,
        regex=re.compile(
            rf"\b(?:{_NAMED_ID})\b(?: (?:no|nr|number))?\.?(?: is)?[ :#]{{1,3}}"
            r"(?P<it>[0-9](?:[ .-]?[0-9]){7,14})(?!\w)",
            re.IGNORECASE,
        ),
        take=checks.named_id,
    ),
    Pattern(
        kind=Kind.IP,
        needs=".",
        regex=re.compile(rf"(?<![\w.-])(?:{_OCTET}\.){{3}}{_OCTET}(?![\w-]|\.[0-9])"),
        take=checks.ip,
    ),
    Pattern(
        kind=Kind.IP,
        needs=":",
        regex=re.compile(
            r"(?<![\w:.])[23][0-9A-Fa-f]{3}:(?:[0-9A-Fa-f]{0,4}:){1,6}[0-9A-Fa-f]{0,4}(?![\w:])"
        ),
        take=checks.ip,
    ),
    Pattern(
        kind=Kind.PHONE,
        gate=_MANY_DIGITS,
        needs="+",
        regex=re.compile(r"(?<![\w+])\+[1-9][0-9]{0,2}(?:[ ()./-]{0,3}[0-9]){5,13}(?![\w])"),
        take=checks.phone_anywhere,
    ),
    Pattern(
        kind=Kind.PHONE,
        gate=_MANY_DIGITS,
        regex=re.compile(
            rf"{_DIGITS_NOT_BEFORE}(?:1[-. ])?(?:\([2-9][0-9]{{2}}\) ?[2-9][0-9]{{2}}[-. ]"
            r"|[2-9][0-9]{2}([-.])[2-9][0-9]{2}\1)[0-9]{4}(?![\w-]|[.,][0-9]| ?[=*/])"
        ),
        take=checks.phone_in_us,
    ),
    Pattern(
        kind=Kind.PHONE,
        gate=_MANY_DIGITS,
        regex=re.compile(
            rf"{_DIGITS_NOT_BEFORE}(?:\(0[1-9][0-9]{{0,4}}\)|0[1-9][0-9]{{0,4}})(?:[ ./-]?[0-9]){{6,11}}"
            r"(?![\w-]|[.,][0-9]| ?[=*/])"
        ),
        take=checks.phone_with_zero,
    ),
    Pattern(
        kind=Kind.PHONE,
        gate=_MANY_DIGITS,
        regex=re.compile(
            rf"\b(?:{_PHONE_WORD})\b(?: (?:no|nr|number))?\.?(?: (?:is|at|on))?[ :#]{{1,3}}"
            r"(?P<it>[(]?[0-9](?:[ ()./-]{0,2}[0-9]){6,13})(?!\w|[.,][0-9])",
            re.IGNORECASE,
        ),
        take=checks.phone_named,
    ),
)
"""Every pattern, in the order in which they are tried."""
