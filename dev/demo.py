"""`sojourn dev --demo`: submit the lead form and show the run happening."""

import asyncio
import contextlib
from datetime import UTC, datetime
from typing import Any

from httpx2 import AsyncClient, HTTPError
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dev.errors import StackError
from dev.mailbox import Mail

FORM = "contact"
_RECONNECT = 1.0
_LAST = {"run_completed", "run_failed", "run_cancelled"}
_COLOURS = {"completed": "green", "failed": "red", "waiting": "yellow", "started": "cyan"}


class Demo:
    """Shows one run of the lead journey on a console."""

    def __init__(self, console: Console) -> None:
        """Print to `console`."""
        self._console = console

    def show_mail(self, mail: Mail) -> None:
        """Print a mail as it arrives in the mailbox."""
        to = ", ".join(mail.recipients)
        self._line("mail", f"[magenta]to {escape(to)}: {escape(mail.subject)}[/]")

    async def run(self, api: AsyncClient) -> str:
        """Submit the form, print each event until the run ends, and give the run's status."""
        email = f"ada.{datetime.now(UTC):%H%M%S}@example.com"
        fields = {"email": email, "name": "Ada", "company": "Analytical Engines", "budget": 5000}
        self._console.print(f"\nSubmitting the form [bold]{FORM}[/] for {email}")
        answer = await api.post(f"/api/v1/forms/{FORM}/submissions", json={"fields": fields})
        if answer.is_error:
            raise StackError(f"the form {FORM!r} refuses the submission: {answer.text}")
        run_id = answer.json()["run_id"]
        await self._follow(api, run_id)
        return await self._sum_up(api, run_id)

    async def _follow(self, api: AsyncClient, run_id: str) -> None:
        last_id: str | None = None
        while True:
            headers = {} if last_id is None else {"Last-Event-ID": last_id}
            with contextlib.suppress(HTTPError):
                async with api.sse(
                    f"/api/v1/runs/{run_id}/events", headers=headers, timeout=None
                ) as events:
                    async for event in events:
                        last_id = event.id or last_id
                        if event.event != "message":
                            self._event(event.event, event.json())
                        if event.event in _LAST:
                            return
            await asyncio.sleep(_RECONNECT)

    def _event(self, kind: str, data: Any) -> None:
        subject, _, what = kind.partition("_")
        colour = _COLOURS.get(what, "white")
        if subject == "run":
            self._line("run", f"[bold {colour}]{what}[/]")
            return
        about = str(data.get("step", ""))
        more = data.get("note") or (data.get("error") or {}).get("message") or ""
        kind_of = str(data.get("type", ""))
        self._line("step", f"{escape(about):<18} {kind_of:<10} [{colour}]{what}[/] {escape(more)}")

    async def _sum_up(self, api: AsyncClient, run_id: str) -> str:
        run = (await api.get(f"/api/v1/runs/{run_id}")).json()
        steps = (await api.get(f"/api/v1/runs/{run_id}/steps")).json()
        table = Table(title=f"Run {run_id}: {run['status']} {run['output'] or ''}")
        for column in ("step", "title", "type", "status", "attempts", "ms"):
            table.add_column(column)
        for step in steps:
            cells = [step["path"], step["title"], step["type"], step["status"]]
            numbers = [step["attempts"], step["duration_ms"]]
            table.add_row(*(escape(str(cell or "")) for cell in cells), *map(_number, numbers))
        self._console.print(table)
        return run["status"]

    def _line(self, kind: str, text: str) -> None:
        now = datetime.now().astimezone()
        self._console.print(f"  {now:%H:%M:%S}.{now.microsecond // 1000:03d}  {kind:<5} {text}")


def _number(value: Any) -> str:
    return "" if value is None else str(value)
