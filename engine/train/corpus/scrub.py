"""Secrets and addresses in a text, replaced by others of the same shape."""

import re

EMAIL = re.compile(
    r"\b[\w.+-]{1,64}@(?!example\.)[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,12}\b"
)
SECRETS = (
    (re.compile(r"\b(?:AKIA|ASIA|AROA|AIDA)[A-Z0-9]{16}\b"), "AKIA" + "X" * 16),
    (re.compile(r"\bgh[pousr]_[A-Za-z0-9]{30,}\b"), "ghp_" + "x" * 36),
    (re.compile(r"\bgithub_pat_\w{30,}\b"), "github_pat_" + "x" * 36),
    (re.compile(r"\bglpat-[\w-]{18,}\b"), "glpat-" + "x" * 20),
    (re.compile(r"\bsk-(?:proj-|ant-)?[A-Za-z0-9_-]{20,}\b"), "sk-" + "x" * 24),
    (re.compile(r"\b[sr]k_(?:live|test)_[A-Za-z0-9]{16,}\b"), "sk_test_" + "x" * 16),
    (re.compile(r"\bxox[abpros]-[A-Za-z0-9-]{10,}\b"), "xoxb-" + "x" * 12),
    (re.compile(r"\bAIza[\w-]{35}\b"), "AIza" + "x" * 35),
    (re.compile(r"\bhf_[A-Za-z0-9]{30,}\b"), "hf_" + "x" * 34),
    (re.compile(r"\b(?:npm_[A-Za-z0-9]{36}|pypi-[\w-]{50,})\b"), "npm_" + "x" * 36),
    (re.compile(r"\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}\b"), "eyJx.eyJx.x"),
    (
        re.compile(
            r"(?i)((?:password|passwd|secret|api_?key|access_?token|auth_?token)[\"']?\s*[:=]\s*[\"'])"
            r"(?=[^\"'\s]*\d)(?=[^\"'\s]*[A-Za-z])[A-Za-z0-9+/_-]{20,}={0,2}(?=[\"'])"
        ),
        r"\1xxxxxxxxxxxxxxxx",
    ),
)  # fmt: skip
SECRET_START = re.compile(
    r"A(?:KIA|SIA|ROA|IDA)[A-Z0-9]|gh[pousr]_|github_pat_|glpat-|sk[-_]|rk_|xox[abpros]-|AIza|hf_|"
    r"npm_|pypi-|eyJ|(?i:passw|secret|api_?key|_?token)"
)


def scrubbed(text: str) -> str:
    """A text without secrets and e-mail addresses, each replaced by one of the same shape."""
    # Most files hold none, and a search for the start of one is cheaper than all the patterns.
    if SECRET_START.search(text):
        for pattern, placeholder in SECRETS:
            text = pattern.sub(placeholder, text)
    return EMAIL.sub("user@example.com", text) if "@" in text else text
