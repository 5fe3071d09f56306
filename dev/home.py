"""The folder of one development stack: one instance at a time, its secrets for its owner only."""

import base64
import fcntl
import os
import secrets
from pathlib import Path
from typing import IO

from dev.errors import StackError
from schemas.keyring import KEY_BYTES


class Home:
    """A folder such as `.sojourn/`: the data of the servers, logs, mails and `dev.env`."""

    def __init__(self, folder: Path) -> None:
        """Name the folder; nothing is touched before `open`."""
        self.folder = folder.expanduser().absolute()
        self._lock: IO[str] | None = None

    @property
    def env_file(self) -> Path:
        """What other programs read to find the stack."""
        return self.folder / "dev.env"

    def open(self) -> None:
        """Create the folder and lock it; raises StackError if it cannot be had."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            # Whatever is written here would otherwise end up in somebody's repository.
            (self.folder / ".gitignore").write_text("*\n")
            lock = (self.folder / "lock").open("a+")
        except OSError as error:
            raise StackError(
                f"the folder {self.folder} cannot be written: {error.strerror}",
                "choose another with --home",
            ) from error
        try:
            # The kernel lets go of it when its holder dies, however it dies.
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.seek(0)
            holder = lock.read().strip() or "unknown"
            lock.close()
            raise StackError(
                f"another 'sojourn dev' (pid {holder}) runs with the folder {self.folder}",
                "stop it first, or choose another folder with --home",
            ) from error
        lock.seek(0)
        lock.truncate()
        lock.write(str(os.getpid()))
        lock.flush()
        self._lock = lock

    def close(self) -> None:
        """Let go of the folder."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def api_key(self) -> str:
        """Give the bootstrap key of this folder's API, made once."""
        path = self.folder / "api-key"
        if not path.exists():
            _write_private(path, f"sk_dev_{secrets.token_urlsafe(24)}")
        return path.read_text().strip()

    def admin_key(self) -> str | None:
        """Give the admin's key that people and programs use, None before it was made."""
        path = self.folder / "admin-key"
        return path.read_text().strip() if path.exists() else None

    def keep_admin_key(self, text: str) -> None:
        """Keep the admin's key for the next start."""
        _write_private(self.folder / "admin-key", text)

    def secret_keys(self) -> str:
        """Give the keys of this folder's connections and secrets, made once: `dev:base64`."""
        return self._keys("secret-keys")

    def payload_keys(self) -> str:
        """Give the keys of payloads in Temporal, made once; unused until encryption is on."""
        return self._keys("payload-keys")

    def _keys(self, name: str) -> str:
        path = self.folder / name
        if not path.exists():
            _write_private(path, f"dev:{base64.b64encode(os.urandom(KEY_BYTES)).decode()}")
        return path.read_text().strip()

    def write_env(self, values: dict[str, str]) -> None:
        """Write `dev.env`, readable by its owner only."""
        lines = [f"{name}={value}" for name, value in values.items()]
        _write_private(self.env_file, "\n".join(lines) + "\n")


def _write_private(path: Path, text: str) -> None:
    # Written beside and renamed, so that nobody reads half of it.
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    fresh.replace(path)
