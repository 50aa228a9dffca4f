"""Which packages and files may be learned from: permissive licences only, read from their metadata.

Works on strings. Where a package offers a choice, one permissive licence is enough, unless another
is copyleft or not free: nobody should have to argue about the training set.
"""

import re
from collections.abc import Sequence

PERMISSIVE = {
    "MIT", "MIT-0", "BSD", "BSD-2-CLAUSE", "BSD-3-CLAUSE", "0BSD", "APACHE-2.0", "ISC", "PSF-2.0",
    "PYTHON-2.0", "UNLICENSE", "ZLIB",
}  # fmt: skip
CLASSIFIERS = {
    "MIT License": "MIT",
    "MIT No Attribution License (MIT-0)": "MIT-0",
    "BSD License": "BSD",
    "Apache Software License": "Apache-2.0",
    "ISC License (ISCL)": "ISC",
    "Python Software Foundation License": "PSF-2.0",
    "The Unlicense (Unlicense)": "Unlicense",
    "Zero-Clause BSD (0BSD)": "0BSD",
    "zlib/libpng License": "Zlib",
}
RESTRICTED = re.compile(
    r"\b(?:[AL]?GPL(?:v?[123])?|GNU\s+(?:Lesser|Library|Affero|General)|MPL|Mozilla\s+Public|EPL|"
    r"Eclipse\s+Public|EUPL|CDDL|CeCILL|SSPL|Server\s+Side\s+Public|Business\s+Source|BUSL|"
    r"Elastic\s+License|Commons\s+Clause|CC[- ]BY\S*|Creative\s+Commons|Proprietary|Confidential|"
    r"Copyleft|non-?commercial)\b",
    re.IGNORECASE,
)
# In a file's header, so a package's own words about licences further down do not count.
RESTRICTED_HEADER = re.compile(
    r"\b(?:[AL]?GPL(?:-|v|\s+v)?[123]|(?:under|terms\s+of|of)\s+the\s+(?:GNU\s+)?[AL]?GPL|"
    r"GNU\s+(?:Lesser|Library|Affero)?\s*General\s+Public|GNU\s+(?:Lesser|Affero)\b|"
    r"Mozilla\s+Public\s+License|MPL[- ]?[12]|Eclipse\s+Public|EUPL|CDDL|CeCILL|SSPL|BUSL|"
    r"Server\s+Side\s+Public|Business\s+Source|Elastic\s+License|CC[- ]BY|Creative\s+Commons|"
    r"(?:confidential|proprietary)\s+(?:and|information|software|license|source|code)|"
    r"(?:company|trade|strictly)\s+(?:secret|confidential)|unauthori[sz]ed\s+copying)",
    re.IGNORECASE,
)
SPDX_LINE = re.compile(r"SPDX-License-Identifier:\s*([^\n*]+)")
HEADER_CHARACTERS = 3000
TEXTS = (
    (re.compile(r"^\s*MIT[- ]0\b", re.I), "MIT-0"),
    (re.compile(r"^\s*(?:the\s+)?(?:expat|MIT\b)", re.I), "MIT"),
    (re.compile(r"Permission is hereby granted, free of charge", re.I), "MIT"),
    (re.compile(r"^\s*apache(?:\s*$|[- ,]*(?:software\s+)?(?:licen[sc]e)?[- ,]*(?:v|version\s*)?"
                r"(?:2|$))|Apache\s+License[,\s]+Version\s+2|apache\.org/licenses/LICENSE-2|"
                r"^\s*ALv?2|^\s*Apache Software License", re.I), "Apache-2.0"),
    (re.compile(r"^\s*(?:BSD[- ]?3|3[- ]clause)|New BSD|Modified BSD|BSD[- ]3", re.I),
     "BSD-3-Clause"),
    (re.compile(r"^\s*(?:BSD[- ]?2|2[- ]clause)|Simplified BSD|BSD[- ]2", re.I), "BSD-2-Clause"),
    (re.compile(r"\bBSD\b|Redistribution and use in source and binary forms", re.I), "BSD"),
    (re.compile(r"^\s*ISC\b", re.I), "ISC"),
    (re.compile(r"^\s*(?:PSF|Python Software Foundation)", re.I), "PSF-2.0"),
    (re.compile(r"unlicense", re.I), "Unlicense"),
    (re.compile(r"^\s*zlib", re.I), "Zlib"),
)  # fmt: skip


def expression_is_permissive(expression: str) -> bool:
    """Whether an SPDX expression leaves only permissive licences, or a choice of one.

    A choice that includes copyleft counts as restricted.
    """
    expression = re.sub(r"(?i)\bWITH\s+LLVM-exception\b", "", expression)
    names = [n for n in re.split(r"[\s()/,]+|\b(?:AND|OR)\b", expression) if n]
    permissive = [n.upper() in PERMISSIVE for n in names]
    if re.search(r"\bOR\b", expression) and not re.search(r"\bAND\b", expression):
        return any(permissive) and RESTRICTED.search(expression) is None
    return bool(names) and all(permissive)


def licence_of(
    expression: str | None, text: str | None, classifiers: Sequence[str]
) -> tuple[str | None, str]:
    """The permissive licence that a package's metadata declares, or None with the reason.

    `expression` is SPDX, `text` the free `License` field, `classifiers` those of trove.
    """
    declared: list[str] = []
    for classifier in classifiers:
        if classifier.startswith("License ::"):
            name = classifier.split("::")[-1].strip()
            if name in ("OSI Approved", "Public Domain"):
                continue
            if name not in CLASSIFIERS:
                return None, f"classifier {name}"
            declared.append(CLASSIFIERS[name])
    if expression:
        if not expression_is_permissive(expression):
            return None, f"expression {expression[:60]}"
        return expression.strip(), ""
    if text and text.strip() and text.strip().upper() not in ("UNKNOWN", "LICENSE", "LICENCE"):
        if expression_is_permissive(text.strip()):
            return text.strip(), ""
        if RESTRICTED.search(text):
            return None, "licence text names a restricted licence"
        if len(text) < 100 and re.search(r"\b(?:AND|OR)\b|/", text) and "://" not in text:
            return None, f"licence text {text.strip()[:60]}"
        for pattern, name in TEXTS:
            if pattern.search(text):
                return name, ""
    if declared:
        return " AND ".join(sorted(set(declared))), ""
    return None, "no licence declared"


def header_is_restricted(text: str) -> bool:
    """Whether the head of a file names a licence that is not permissive."""
    head = text[:HEADER_CHARACTERS]
    spdx = SPDX_LINE.search(head)
    if spdx:
        expression = re.sub(r"\s*(?:-->|\*/|#}).*$", "", spdx[1]).strip().strip("\"'")
        return not expression_is_permissive(expression)
    return RESTRICTED_HEADER.search(head) is not None
