"""Which files to leave alone: where secrets usually are, what the user excludes, what is too big.

Such a file is neither completed nor shown to the model as context of another one.
"""

import re
from collections.abc import Iterable
from fnmatch import translate
from functools import lru_cache
from urllib.parse import unquote, urlsplit

# Names and places, not contents. A pattern without a slash is about the file's name, one with a
# slash about the end of its path.
SECRET_FILES: tuple[str, ...] = (
    # environments and their like
    *(".env", ".env.*", "*.env", ".envrc", ".flaskenv", ".renviron", ".dev.vars"),
    # private keys, key stores, certificates
    *("*.pem", "*.key", "*.p8", "*.p12", "*.pfx", "*.jks", "*.keystore", "*.truststore", "*.bks"),
    *("*.der", "*.crt", "*.cer", "*.csr", "*.p7b", "*.p7c", "*.ppk", "*.agekey", "*.asc"),
    *("*.gpg", "*.pgp", "*.kdb", "*.kdbx", "*.keychain", "*.keychain-db", "*.mobileprovision"),
    *("id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*", "*_rsa", "*_dsa", "*_ecdsa", "*_ed25519"),
    *("authorized_keys", "*.ovpn", "wg*.conf", "secring.*", "*.jwk", "*.jwks"),
    # passwords and tokens of tools
    *(".netrc", "_netrc", ".pgpass", ".my.cnf", ".mylogin.cnf", ".htpasswd", "htpasswd"),
    *(".git-credentials", ".npmrc", ".yarnrc", ".yarnrc.yml", ".pypirc", ".gemrc", ".s3cfg"),
    *(".dockercfg", ".docker/config.json", "docker-config.json", ".boto", ".passwd-s3fs"),
    *("kubeconfig", "*.kubeconfig", ".vault-token"),
    *(
        "gcloud/*.json",
        "gh/hosts.yml",
        "rclone.conf",
        ".databrickscfg",
        ".snowsql",
        ".bundle/config",
    ),
    *(".cargo/credentials*", ".gem/credentials", ".composer/auth.json", ".nuget/nuget.config"),
    *(".terraformrc", "terraform.rc", "*.tfstate", "*.tfstate.*", "*.tfvars"),
    *("*.tfvars.json", "local.settings.json", "*.publishsettings", "*.rdp", "filezilla.xml"),
    *("sitemanager.xml", ".ftpconfig", ".remote-sync.json", "proftpdpasswd", "shadow", "gshadow"),
    # files that say it themselves
    *("credentials", "credentials.*", "*.credentials", "*credentials*.json", "*.secret"),
    *("*.secrets", "secret.y*ml", "secrets.y*ml", "*.secrets.y*ml"),
    *("*secret.json", "*secrets.json", "secrets.toml", "secrets.env", "secrets.ini", "*.vault"),
    *(
        "secrets.properties",
        "client_secret*.json",
        "service-account*.json",
        "service_account*.json",
    ),
    *("serviceaccount*.json", "google-services.json", "googleservice-info.plist", "vault.y*ml"),
    *(
        "*password*.txt",
        "*passwords*",
        "*passwd*",
        "*.token",
        "token.json",
        "*apikey*",
        "*api_key*",
    ),
    *("*.bash_history", "*.zsh_history", ".*_history", "*.pcap"),
)
SECRET_FOLDERS: tuple[str, ...] = (
    *(".ssh", ".gnupg", ".aws", ".azure", ".kube", ".gcloud", ".oci", ".terraform.d"),
    *("secrets", ".secrets", ".password-store"),
)
_CODE = re.compile(r"\.(c|cc|cpp|cs|css|go|h|html|java|jsx?|kt|md|php|py|rb|rs|scala|swift|tsx?)$")


def ignored(uri: str, num_characters: int, globs: Iterable[str], max_file_size: int) -> str:
    """Why this file is left alone; empty when it is not."""
    path = file_path(uri)
    if _secret(path):
        return "a file that may hold secrets"
    if _matches(path, tuple(globs)):
        return "excluded by disabledFiles"
    if num_characters > max_file_size:
        return f"larger than maxFileSize ({num_characters} > {max_file_size} characters)"
    return ""


def file_path(uri: str) -> str:
    """The path in a URI of any scheme, decoded; that of a notebook cell is the notebook's."""
    parts = urlsplit(uri)
    return unquote(parts.path or parts.netloc or uri).replace("\\", "/")


@lru_cache(maxsize=512)
def _secret(path: str) -> bool:
    *folders, name = path.lower().split("/")
    # Code that deals with secrets holds none (passwords.py, secrets/vault.ts); .env.php does.
    if _CODE.search(name) and not name.startswith("."):
        return False
    names, ends = _compiled(SECRET_FILES)
    return (
        not set(SECRET_FOLDERS).isdisjoint(folders)
        or bool(names.fullmatch(name))
        or bool(ends.fullmatch("/" + path.lower()))
    )


@lru_cache(maxsize=512)
def _matches(path: str, globs: tuple[str, ...]) -> bool:
    """Without a slash a glob is about any part of the path, with one about its end."""
    parts, ends = _compiled(globs)
    path = path.lower()
    return any(map(parts.fullmatch, path.split("/"))) or bool(ends.fullmatch("/" + path))


@lru_cache(maxsize=16)
def _compiled(globs: tuple[str, ...]) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """One expression for the globs without a slash and one for those with."""
    lower = [glob.lower().rstrip("/") for glob in globs if glob.strip("/")]
    bare = [translate(glob) for glob in lower if "/" not in glob]
    ends = ["*/" + glob.removeprefix("**/").lstrip("/") for glob in lower if "/" in glob]
    return re.compile("|".join(bare) or "(?!)"), re.compile(
        "|".join(map(translate, ends)) or "(?!)"
    )
