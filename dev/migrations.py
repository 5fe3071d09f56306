"""Check the migrations against the models, or write one, on a PostgreSQL of its own.

`python -m dev.migrations` exits with 1 and names the differences if there are any;
`python -m dev.migrations "add lead source"` writes a revision that removes them.
"""

import os
import sys
import tempfile
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util import CommandError

from dev.postgres import EmbeddedPostgres

_FOLDER = Path(__file__).resolve().parent.parent / "db" / "migrations"


def main(message: str | None = None) -> int:
    """Migrate an empty database, then compare it with the models or write what is missing."""
    config = Config()
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    with tempfile.TemporaryDirectory(prefix="sojourn-migrations-") as folder:
        server = EmbeddedPostgres(Path(folder) / "postgres", durable=False)
        server.start()
        os.environ["DATABASE_URL"] = server.url()
        try:
            command.upgrade(config, "head")
            if message is None:
                command.check(config)
            else:
                command.revision(config, message, autogenerate=True)
        except CommandError as error:
            sys.stderr.write(f"{error}\nwrite a migration: make migration NAME='what it does'\n")
            return 1
        finally:
            server.stop()
    return 0


if __name__ == "__main__":
    raise SystemExit(main(" ".join(sys.argv[1:]) or None))
