"""What is taken for a secret, by name and by content, and what is not."""

import time
from pathlib import Path

import pytest

from infill_ls.secret_files import names_secrets, secret_in

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "path",
    [
        *(".env", ".env.local", "prod.env", ".ENV", ".envrc", ".env.local.php", ".env-prod"),
        *(".env_prod", "prod.env.local", ".env.production", ".env2", ".dev.vars", ".flaskenv"),
        *("server.pem", "server.key", "store.jks", "id_rsa", "id_ed25519.pub", "x.p12", "a.kdbx"),
        *("ssh_host_rsa_key", "deploy_key.age", "tls.key.2024", "my_private_key", "wallet.dat"),
        *(".ssh/config", ".aws/credentials", ".kube/config", ".docker/config.json", ".netrc"),
        *(".npmrc", ".pypirc", ".git-credentials", ".pgpass", "terraform.tfstate", "prod.tfvars"),
        *("credentials.json", "aws_credentials.json", "secrets.yaml", "secrets/db.yaml"),
        *("client_secret_123.json", "my-service-account-x.json", "passwords.txt", ".bash_history"),
        *(".cargo/credentials.toml", ".config/gh/hosts.yml", "my keys/id_rsa", "wp-config.php"),
        *(
            ".config/gcloud/access_tokens.db",
            ".vscode/sftp.json",
            "auth.json",
            "secrets/.env.sample",
        ),
    ],
)
def test_files_that_usually_hold_secrets_are_known(path: str) -> None:
    assert names_secrets(f"/home/someone/{path}")


@pytest.mark.parametrize("name", [".env", "id_rsa", "server.key", "secrets.yaml", "prod.env.local"])
def test_so_are_their_copies(name: str) -> None:
    for copy in (
        *(f"{name}~", f"{name}.bak", f"{name}.old", f"{name}.orig", f"{name}.bak~", f"{name}.1"),
        *(f"#{name}#", f".#{name}", f".{name}.swp", f"{name} copy", f"{name} (1)", name.upper()),
    ):
        assert names_secrets(f"/home/someone/{copy}"), copy


@pytest.mark.parametrize(
    "path",
    [
        *("main.py", "secrets.py", "passwords.ts", "api_key.go", "src/credentials/provider.java"),
        *("secrets/vault.rs", "environment.py", "keys.py", "config.json", "package.json"),
        *("shadow/shadow.cpp", "tokens.json", "README.md", "env.d.ts", "Dockerfile", "Makefile"),
        *(".env.example", ".env.sample", ".env.template", ".env.local.example", ".env.dist"),
        *(".env.example~", "env.example", "environment.yml", "vite.env.ts", "passwords.py.bak"),
        *("keyboard.json", "monkey.py", "tokenizer.json", "settings.toml", "env", "turkey.key.rs"),
    ],
)
def test_code_about_secrets_and_templates_are_no_secrets(path: str) -> None:
    assert not names_secrets(f"/home/someone/{path}")


BASE64 = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSj"
AWS = "AKIA" + "IOSFODNN7EXAMPLE"
GITHUB = "ghp_" + "x7" * 18


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (f"-----BEGIN RSA PRIVATE KEY-----\n{BASE64}", "a private key"),
        (f"-----BEGIN RSA PRIVATE KEY-----\nDEK-Info: AES-128-CBC\n\n{BASE64}", "a private key"),
        (f"key = ('-----BEGIN PRIVATE KEY-----\\n'\n    '{BASE64}\\n'", "a private key"),
        (f"-----BEGIN PGP PRIVATE KEY BLOCK-----\n\n{BASE64}", "a private key"),
        ("if line == '-----BEGIN PRIVATE KEY-----':\n    return load(line)\n", ""),
        (f"aws = {AWS}\n", "a token"),
        (f"url = 'https://{GITHUB}@github.com'", "a token"),
        ("key: sk-" + "proj-" + "aB3" * 14, "a token"),
        (
            "jwt eyJhbGciOiJIUzI1NiJ9" + ".eyJzdWIiOiIxMjM0NTYifQ" + ".dozjgNryP4J3jVmNHl0w5N",
            "a token",
        ),
        ("API_KEY = '" + "9f86d081884c7d65" * 2 + "'", "a token"),
        ('{"access_token": "' + "9f86d081884c7d65" * 2 + '"}', "a token"),
        ("client_secret=" + "9f86d081884c7d65" * 2 + "\n", "a token"),
        (f"-----BEGIN CERTIFICATE-----\n{BASE64}", ""),
        ("token = tokenizer.tokens[position_of_the_next_token_in_line_2]", ""),
        ("token = next_token_of_the_underlying_iterator_of_lines\n", ""),
        ("sha256 = '" + "9f86d081884c7d65" * 4 + "'", ""),
        ("TOKEN = 'changeme'", ""),
        ("risk-" + "analysis-" * 6, ""),
        ("", ""),
    ],
)
def test_what_looks_like_a_secret_in_a_text(text: str, what: str) -> None:
    assert secret_in(text) == what


def test_our_own_sources_hold_none() -> None:
    found = [path for path in (ROOT / "infill_ls").rglob("*.py") if secret_in(path.read_text())]

    assert found == []


def test_a_large_text_does_not_take_long() -> None:
    sources = sorted((ROOT / "infill_ls").rglob("*.py"))
    text = "".join(path.read_text() for path in sources)[:200_000]
    started = time.perf_counter()
    secret_in(text)

    assert time.perf_counter() - started < 0.25
