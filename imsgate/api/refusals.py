"""The forms of refusals that ``imsgate.http.responses`` makes, as schemas."""

from collections.abc import Mapping
from typing import Any

from imsgate.api.description import JSON, TEXT, Schema, component, record

_REASON: Schema = {**TEXT, "description": "A stable word for programs"}

#: Members that are named here are in every refusal of the form. Others say more of its reason.
SCHEMAS: Mapping[str, Schema] = {
    "ImageApiRefusal": record(
        {
            "message": TEXT,
            "code": {**TEXT, "description": "The status and its phrase"},
            "title": TEXT,
            "reason": _REASON,
        }
    ),
    "ImsRefusal": record(
        {
            "error": record(
                {"code": {**TEXT, "description": "IMG.0001"}, "message": TEXT, "reason": _REASON}
            )
        }
    ),
    "GatewayRefusal": record(
        {
            "error_code": {**TEXT, "description": "APIGW.0301"},
            "error_msg": TEXT,
            "request_id": TEXT,
        }
    ),
    "Problem": {
        "description": "A problem document (RFC 9457)",
        **record(
            {
                "type": TEXT,
                "title": TEXT,
                "status": {"type": "integer"},
                "detail": TEXT,
                "reason": _REASON,
            }
        ),
    },
}


def name(*, of_ims: bool, has_problems: bool) -> str:
    """The name of the response of a call; ``has_problems`` as in ``Description``."""
    return f"{'Ims' if of_ims else 'ImageApi'}Refused{'OrProblem' if has_problems else ''}"


def _response(*, of_ims: bool, has_problems: bool) -> dict[str, Any]:
    """A client that signs its requests gets the forms of IMS on every path."""
    forms = ["ImsRefusal", "GatewayRefusal"]
    forms = forms if of_ims else ["ImageApiRefusal", *forms]
    content: dict[str, Any] = {JSON: {"schema": {"anyOf": [component(form) for form in forms]}}}
    if not of_ims:
        content |= {kind: {"schema": TEXT} for kind in ("text/html", "text/plain")}
    if has_problems:
        content["application/problem+json"] = {"schema": component("Problem")}
    return {
        "description": "The request is refused. The text says why and what the user can do.",
        "headers": {"X-Imsgate-Reason": {"schema": TEXT, "description": _REASON["description"]}},
        "content": content,
    }


#: The responses by name.
RESPONSES: Mapping[str, Any] = {
    name(of_ims=of_ims, has_problems=has_problems): _response(
        of_ims=of_ims, has_problems=has_problems
    )
    for of_ims in (False, True)
    for has_problems in (False, True)
}
