"""Files that hold secrets, by their name and place; by what stands in them: secret_texts.py.

Names are looked at without regard to case and to what editors and people hang on to a copy.
Code that deals with secrets (`passwords.py`, `secrets/vault.ts`) holds none, and neither does the
template of an environment that is meant to be committed (`.env.example`).
"""

import re
from fnmatch import translate
from functools import lru_cache

# Globs of a file's name.
NAMES: tuple[str, ...] = (
    # environments and their like
    *(".env", ".env[._-]*", "*.env", "*.env[._-]*", ".env[0-9]*", ".envrc", ".envrc.*"),
    *(".dotenv", "dotenv", ".flaskenv", ".renviron", ".dev.vars", ".dev.vars.*"),
    # private keys, key stores, certificates
    *("*.pem", "*.key", "*.key.*", "*.p8", "*.p12", "*.p15", "*.pfx", "*.pkcs12", "*.pk8"),
    *("*.jks", "*.jceks", "*.keystore", "*.truststore", "*.bks", "*.der", "*.crt", "*.cer"),
    *("*.csr", "*.p7b", "*.p7c", "*.ppk", "*.agekey", "*.age", "*.asc", "*.gpg", "*.pgp"),
    *("*.kdb", "*.kdbx", "*.psafe3", "*.opvault", "*.agilekeychain", "*.keychain"),
    *("*.keychain-db", "*.keytab", "*.wallet", "wallet.dat", "*.mobileprovision"),
    *("id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*", "id_xmss*", "*_rsa", "*_dsa", "*_ecdsa"),
    *("*_ed25519", "ssh_host_*_key*", "authorized_keys", "*.ovpn", "wg*.conf", "secring*"),
    *("*.jwk", "*.jwks", "*privkey*", "*private_key*", "*private-key*", "*.privatekey"),
    # passwords and tokens of tools
    *(".netrc", "_netrc", ".authinfo", ".pgpass", "pgpass.conf", ".my.cnf", ".mylogin.cnf"),
    *(".htpasswd", "htpasswd", "*.htpasswd", ".git-credentials", ".npmrc", ".yarnrc"),
    *(".yarnrc.yml", ".pypirc", ".gemrc", ".s3cfg", ".dockercfg", "docker-config.json"),
    *(".boto", ".passwd-s3fs", "kubeconfig", "*.kubeconfig", "kubeconfig.*", ".vault-token"),
    *(".vault_pass*", ".vault-pass*", "vault_pass*", "rclone.conf", ".databrickscfg"),
    *(".snowsql", ".terraformrc", "terraform.rc", "*.tfstate", "*.tfstate.*", "*.tfvars"),
    *("*.tfvars.json", "local.settings.json", "*.publishsettings", "*.rdp", "filezilla.xml"),
    *("sitemanager.xml", "recentservers.xml", "winscp.ini", "ws_ftp.ini", ".ftpconfig"),
    *("sftp.json", "sftp-config.json", ".remote-sync.json", "proftpdpasswd", "shadow"),
    *("gshadow", "kaggle.json", "auth.json", "wp-config.php", "datasources.local.xml"),
    *(".msmtprc", ".fetchmailrc", ".curlrc", ".wgetrc", "logins.json", "key[34].db"),
    *("cookies.txt", "cookies.sqlite", "master.key", "*firebase-adminsdk*.json"),
    # files that say it themselves
    *("credentials", "credentials.*", "*.credentials", "*credentials*.json", ".credentials"),
    *("secret", "secrets", ".secret", ".secrets", "*.secret", "*.secrets", "secret.txt"),
    *("secrets.txt", "secret.y*ml", "secrets.y*ml", "*.secret.y*ml", "*.secrets.y*ml"),
    *("*secret.json", "*secrets.json", "secrets.toml", "secrets.env", "secrets.ini"),
    *("secrets.properties", "client_secret*.json", "*.vault", "vault.y*ml", "*.vault.y*ml"),
    *("*service-account*.json", "*service_account*.json", "*serviceaccount*.json"),
    *("google-services.json", "googleservice-info.plist", "*password*.txt", "*passwords*"),
    *("*passwd*", ".password", ".pass", "*.token", ".token", ".tokens", "token.json"),
    *("*apikey*", "*api_key*", "*api-key*", ".*_history", "*.*_history", "*.pcap", "*.pcapng"),
)
# Globs of the end of a path.
PATHS: tuple[str, ...] = (
    *(".docker/config.json", ".git/config", ".config/gcloud/*", "gcloud/*.json"),
    *("gh/hosts.yml", "config/hub"),
    *("glab-cli/config.yml", ".bundle/config", ".cargo/credentials*", ".gem/credentials"),
    *(".composer/auth.json", ".nuget/nuget.config", "huggingface/token", "etc/shadow"),
)
FOLDERS = frozenset(
    {
        *(".ssh", ".gnupg", ".aws", ".azure", ".kube", ".gcloud", ".oci", ".terraform.d"),
        *("secrets", ".secrets", ".password-store", ".kaggle", ".putty", ".databricks"),
    }
)
_CODE = re.compile(
    r"[^.].*\.(c|cc|cpp|cs|css|go|h|html|java|jsx?|kt|md|php|py|rb|rs|scala|swift|tsx?)"
)
_CODE_WITH_SECRETS = ("wp-config.php",)
_TEMPLATE = re.compile(r".*env.*[._-](example|sample|template|dist|tpl)")
# `.env~`, `#.env#`, `.#.env`, `.env.bak`, `.env.swp`, `id_rsa (1)`, `.env copy`
_COPY = re.compile(
    r"(?:\.?#)?(?P<name>.+?)"
    r"(?:~|\#|\.(?:bak|backup|old|orig|save|saved|sw[a-p]|tmp|copy|\d+)|[ _-]copy|[ ]\(\d+\))*",
    re.DOTALL,
)


@lru_cache(maxsize=1024)
def names_secrets(path: str) -> bool:
    """Whether a file is where secrets usually are, by its path with slashes."""
    *folders, name = path.lower().split("/")
    copied = _COPY.fullmatch(name[-300:])  # no file system has longer ones
    plain = copied["name"] if copied else name
    if _CODE.fullmatch(plain) and plain not in _CODE_WITH_SECRETS:
        return False
    if not FOLDERS.isdisjoint(folders):
        return True
    if _TEMPLATE.fullmatch(plain):
        return False
    # Vim puts a dot in front of the copy of what has none.
    names = {name, plain, plain.removeprefix(".") if name.startswith(".") else plain}
    end = "/".join(["", *folders, plain])
    return any(map(_any_of(NAMES).match, names)) or bool(_any_of(PATHS).search(end))


@lru_cache(maxsize=2)
def _any_of(globs: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(("/" if "/" in glob else "") + translate(glob) for glob in globs))
