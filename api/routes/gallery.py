"""/gallery: ready-made definitions, to be copied."""

from fastapi import APIRouter

from api.dependencies import ActorDep, CatalogueDep, ConfigDep, SessionDep, WorkspaceDep
from api.errors import problems
from api.gallery import Ready, gallery, ready
from api.importing import Import
from api.models.bundles import ImportAnswer, ImportMode
from api.models.common import NamePath
from api.models.gallery import GalleryDetail, GalleryEntry, GalleryList, InstallInput
from db import audit, bundles
from schemas.errors import ConflictError

router = APIRouter(tags=["bundles"], prefix="/gallery")


@router.get("", responses=problems())
async def list_gallery() -> GalleryList:
    """The ready-made definitions that come with this version."""
    return GalleryList(items=[_entry(one) for one in gallery().values()])


@router.get("/{name}", responses=problems(404))
async def get_gallery_entry(name: NamePath) -> GalleryDetail:
    """One of them with its source, templates, forms and test file."""
    found = ready(name)
    return GalleryDetail(
        name=found.name,
        title=found.title,
        description=found.description,
        tags=found.tags,
        source=found.source,
        templates=found.templates,
        forms=found.forms,
        needs=found.needs,
        test=found.test,
    )


@router.post("/{name}/install", status_code=201, responses=problems(400, 404, 409, 413))
async def install_gallery_entry(
    name: NamePath,
    body: InstallInput,
    session: SessionDep,
    workspace: WorkspaceDep,
    catalogue: CatalogueDep,
    config: ConfigDep,
    actor: ActorDep,
) -> ImportAnswer:
    """Copy one into the workspace and publish it; 409 if the name is taken.

    Templates and forms of the same name that are there stay as they are; forms arrive disabled.
    """
    bundle = ready(name).bundle(body.as_)
    wanted = bundle.definitions[0].name
    if await bundles.definitions(session, workspace, [wanted], limit=1):
        raise ConflictError(
            f"a definition named {wanted!r} exists", hint='give the copy a name: {"as": "..."}'
        )
    work = Import(
        session,
        workspace,
        catalogue,
        bundle,
        ImportMode.SKIP,
        actor,
        public_url=config.public_url or "",
    )
    answer = await work.run()
    audit.add(
        session,
        workspace,
        actor=actor,
        action="install_gallery_entry",
        subject=name,
        data={"as": wanted},
    )
    return answer


def _entry(found: Ready) -> GalleryEntry:
    return GalleryEntry(
        name=found.name,
        title=found.title,
        description=found.description,
        tags=found.tags,
        templates=[one.name for one in found.templates],
        forms=[one.name for one in found.forms],
        tested=found.test is not None,
    )
