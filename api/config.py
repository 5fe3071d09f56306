"""What the API needs to know from the settings; the composition root fills it."""

from collections.abc import Callable
from dataclasses import dataclass, field

from api.tokens import OidcConfig
from db.admission import Caps
from db.ai_ledger import Allowance
from schemas.definition import MAX_BYTES
from schemas.keeping import Keep
from schemas.masking import Masking
from schemas.run import MAX_INPUT_BYTES, REVISION


def _no_metrics() -> bytes:
    return b""


@dataclass(frozen=True, kw_only=True)
class ApiConfig:
    """Settings of the API; sizes are in bytes, times in seconds.

    `timescale` divides the timers of runs started here (a development aid, 1 in production).
    `render_metrics` gives the text exposition that `/metrics` answers with. `ai_keep` is how much
    of prompts and answers is shown, `ai_daily` the AI budget of workspaces without their own.
    """

    # Not in the representation: tracebacks and logs show those.
    api_key: str = field(repr=False)
    workspace: str = "default"
    public_url: str | None = None
    booking_url: str | None = None
    timescale: float = 1.0
    max_definition_bytes: int = MAX_BYTES
    max_input_bytes: int = MAX_INPUT_BYTES
    # A body may hold more than the input itself: keys, lead, tracking.
    max_body_bytes: int = MAX_INPUT_BYTES + 64 * 1024
    state_deadline: float = 1.0
    # Of the interpreter: what runs are begun with.
    revision: int = REVISION
    # Of the workspace, over all its definitions.
    caps: Caps = field(default_factory=Caps)
    render_metrics: Callable[[], bytes] = _no_metrics
    ai_keep: Keep = Keep.FULL
    ai_daily: Allowance = field(default_factory=Allowance)
    # The origin of Temporal's Web UI, whose pages may call the codec server.
    temporal_ui_origin: str | None = None
    # Calls; bad credentials are counted by the client's address.
    rate_limit_per_key: int | None = None
    rate_limit_per_workspace: int | None = None
    failures_per_minute: int | None = None
    oidc: OidcConfig | None = None
    # What hides secrets in logs of runs.
    masking: Masking = field(default_factory=lambda: Masking("sojourn"))

    def __post_init__(self) -> None:
        """Refuse an empty key: it would open the API to everybody."""
        if not self.api_key:
            raise ValueError("the API key is empty; set SOJOURN_API_KEY")
