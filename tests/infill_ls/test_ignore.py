"""Secrets are neither completed nor context; code about secrets is ordinary code."""

import pytest

from infill_ls.ignore import ignored


def reason(uri: str, size: int = 10, globs: tuple[str, ...] = ()) -> str:
    return ignored(uri, size, globs, 1000)


@pytest.mark.parametrize(
    "path",
    [
        *(".env", ".env.local", "prod.env", ".ENV", ".envrc", ".env.local.php"),
        *("server.pem", "server.key", "store.jks", "id_rsa", "id_ed25519.pub", "x.p12", "a.kdbx"),
        *(".ssh/config", ".aws/credentials", ".kube/config", ".docker/config.json", ".netrc"),
        *(".npmrc", ".pypirc", ".git-credentials", ".pgpass", "terraform.tfstate", "prod.tfvars"),
        *("credentials.json", "aws_credentials.json", "secrets.yaml", "secrets/db.yaml"),
        *("client_secret_123.json", "service-account-x.json", "passwords.txt", ".bash_history"),
        *(".cargo/credentials.toml", ".config/gh/hosts.yml", "my%20keys/id_rsa", "C%3A/x/.env"),
    ],
)
def test_files_that_usually_hold_secrets_are_left_alone(path: str) -> None:
    assert reason(f"file:///home/someone/{path}") == "a file that may hold secrets"


@pytest.mark.parametrize(
    "path",
    [
        *("main.py", "secrets.py", "passwords.ts", "api_key.go", "src/credentials/provider.java"),
        *("secrets/vault.rs", "environment.py", "keys.py", "config.json", "package.json"),
        *("shadow/shadow.cpp", "tokens.json", "README.md", "env.d.ts", "Dockerfile", "Makefile"),
    ],
)
def test_code_about_secrets_is_completed(path: str) -> None:
    assert reason(f"file:///home/someone/{path}") == ""


@pytest.mark.parametrize(
    "uri",
    [
        "untitled:Untitled-1",
        "vscode-notebook-cell:/home/me/analysis.ipynb#W0sZmlsZQ%3D%3D",
        "vscode-remote://ssh-remote+host/home/me/a.py",
    ],
)
def test_documents_that_are_no_files_are_completed(uri: str) -> None:
    assert reason(uri) == ""


@pytest.mark.parametrize(
    ("glob", "excluded"),
    [
        ("*.gen.py", True),
        ("generated", True),
        ("src/generated/*", True),
        ("**/generated/*.py", True),
        ("generated/", True),
        ("SRC", True),
        ("gen", False),
        ("other/generated/*", False),
        ("", False),
        ("/", False),
    ],
)
def test_the_users_globs_are_about_names_or_the_end_of_the_path(glob: str, excluded: bool) -> None:
    assert bool(reason("file:///p/src/generated/x.gen.py", globs=(glob,))) is excluded


def test_too_large_a_file_is_left_alone_and_the_reason_says_so() -> None:
    assert reason("file:///a.py", size=1000) == ""
    assert reason("file:///a.py", size=1001) == "larger than maxFileSize (1001 > 1000 characters)"
