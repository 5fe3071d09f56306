"""What every step of the language has in common."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from schemas.policies import Code, Strict

if TYPE_CHECKING:
    from schemas.steps import Step

ID_PATTERN = r"^[a-z][a-z0-9_]{0,62}$"
EVENT_PATTERN = r"^[A-Za-z][A-Za-z0-9_.:/-]{0,127}$"
StepId = Annotated[str, Field(pattern=ID_PATTERN)]
EventType = Annotated[str, Field(pattern=EVENT_PATTERN)]
Expression = Annotated[str, Field(min_length=1, description="a CEL expression")]
StepLists = list[tuple[str, "list[Step]"]]

# Tags of unions inside a step; Pydantic puts them into the location of an error.
ROUTES, STEPS, WORD = "error-routes", "step-list", "one-word"


def _shape(value: Any) -> str:
    if not isinstance(value, list):
        return WORD
    first: Any = value[0] if value else None
    is_route = (isinstance(first, dict) and "type" not in first) or isinstance(first, ErrorRoute)
    return ROUTES if is_route else STEPS


class ErrorRoute(Strict):
    """What an error does whose code is in `codes`; without `codes` any error."""

    codes: Annotated[list[Code], Field(min_length=1)] | None = None
    do: "ErrorAction"


ErrorAction = Annotated[
    Annotated[Literal["fail", "continue", "pause"], Tag(WORD)]
    | Annotated["list[Step]", Field(min_length=1), Tag(STEPS)],
    Discriminator(_shape),
]
OnError = Annotated[
    Annotated[Literal["fail", "continue", "pause"], Tag(WORD)]
    | Annotated[list[ErrorRoute], Field(min_length=1), Tag(ROUTES)]
    | Annotated["list[Step]", Field(min_length=1), Tag(STEPS)],
    Discriminator(_shape),
]
OnTimeout = Annotated[
    Annotated[Literal["fail", "continue"], Tag(WORD)]
    | Annotated["list[Step]", Field(min_length=1), Tag(STEPS)],
    Discriminator(_shape),
]


class StepBase(Strict):
    """What every step may have."""

    id: StepId
    title: Annotated[str, Field(max_length=200)] | None = None
    if_: Expression | None = Field(default=None, alias="if", description="guard: false skips")
    depends_on: list[StepId] | None = None
    on_error: OnError = Field(
        default="fail",
        description="fail, continue, pause (an operator decides), a step list as fallback, "
        "or a list of {codes, do} of which the first that fits counts",
    )
    compensate: "list[Step]" = Field(
        default_factory=list, description="undoes this step when the run fails or is cancelled"
    )
    savepoint: bool = Field(
        default=False, description="selective compensation undoes nothing before this step"
    )
    output: Any = Field(default=None, description="replaces the step's own output; may hold {{ }}")

    def visible_lists(self) -> StepLists:
        """The nested step lists, with field paths, whose results can be read after this step."""
        return []

    def hidden_lists(self) -> StepLists:
        """The nested step lists whose results only their own list sees: loops and recovery."""
        return self.recovery_lists()

    def recovery_lists(self) -> StepLists:
        """The fallbacks and the compensation."""
        lists: StepLists = []
        if isinstance(self.on_error, list):
            routes = [
                (f"on_error[{index}].do", route.do)
                for index, route in enumerate(self.on_error)
                if isinstance(route, ErrorRoute) and isinstance(route.do, list)
            ]
            plain = [step for step in self.on_error if not isinstance(step, ErrorRoute)]
            lists += routes
            if plain:
                lists.append(("on_error", plain))
        if self.compensate:
            lists.append(("compensate", self.compensate))
        return lists

    def step_lists(self) -> StepLists:
        """All nested step lists with their field paths, in order."""
        return [*self.visible_lists(), *self.hidden_lists()]

    def error_action(self, code: str) -> "str | list[Step]":
        """What an error with this code does: a word, or the steps of the fallback."""
        if isinstance(self.on_error, str):
            return self.on_error
        for route in self.on_error:
            if not isinstance(route, ErrorRoute):
                return [step for step in self.on_error if not isinstance(step, ErrorRoute)]
            if route.codes is None or code in route.codes:
                return route.do
        return "fail"
