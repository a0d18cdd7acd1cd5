"""Who may do what with an image.

What another project may not see does not exist for it (404); what it may see
but not do is forbidden (403). The rules are Glance's defaults: an ``admin``
may do anything, the owning project's ``member`` may change, anyone in a project
may read what it can see.
"""

from imsgate import errors
from imsgate.model import Identity, Image, Visibility
from imsgate.registry.base import Registry
from imsgate.wsgi import Request


def identity(request: Request) -> Identity:
    """Who asks. Raises Unauthenticated when no filter established it."""
    if request.identity is None:
        raise errors.Unauthenticated
    return request.identity


def owns(who: Identity, image: Image) -> bool:
    """Whether the image is the asking project's, or the asker an admin."""
    return who.is_admin or (image.owner is not None and image.owner == who.project_id)


def visible(registry: Registry, image_id: str, who: Identity) -> Image:
    """The image, if ``who`` may see it. Raises NotFound."""
    image = registry.get(image_id.lower())
    if (
        owns(who, image)
        or image.visibility in (Visibility.PUBLIC, Visibility.COMMUNITY)
        or (image.visibility == Visibility.SHARED and _is_member(registry, image, who))
    ):
        return image
    raise errors.NotFound(what=f"Image {image_id}")


def _is_member(registry: Registry, image: Image, who: Identity) -> bool:
    return any(member.member_id == who.project_id for member in registry.members(image.id))


def check_writer(who: Identity, action: str) -> None:
    """Raises Forbidden for a role that only reads."""
    if not who.roles & {"admin", "member"}:
        raise errors.Forbidden(action=action)


def changeable(registry: Registry, image_id: str, who: Identity, action: str) -> Image:
    """The image, if ``who`` may do ``action`` to it. Raises NotFound or Forbidden."""
    image = visible(registry, image_id, who)
    if not owns(who, image):
        raise errors.Forbidden(action=f"{action} image {image.id}")
    check_writer(who, f"{action} image {image.id}")
    return image


def check_visibility(who: Identity, visibility: Visibility) -> None:
    """Only an admin makes an image public. Raises Forbidden."""
    if visibility == Visibility.PUBLIC and not who.is_admin:
        raise errors.Forbidden(action="make an image public")


def check_owner(who: Identity, owner: str | None) -> None:
    """Only an admin acts for another project. Raises Forbidden."""
    if owner != who.project_id and not who.is_admin:
        raise errors.Forbidden(action=f"own an image as project {owner!r}")
