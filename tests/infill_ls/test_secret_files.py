"""What is taken for a secret by a file's name, and what is not."""

import pytest

from infill_ls.secret_files import names_secrets


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
