"""The vendor's unchanged SDK, told line by line what to do: ``huawei.Huawei`` is the other end."""

import json
import sys
from typing import Any

from huaweicloudsdkcore.auth.credentials import BasicCredentials
from huaweicloudsdkcore.exceptions import exceptions
from huaweicloudsdkcore.sdk_request import SdkRequest
from huaweicloudsdkcore.signer.signer import Signer
from huaweicloudsdkims import v2


def credentials(who: dict[str, str]) -> BasicCredentials:
    made = BasicCredentials(who["ak"], who["sk"], who["project"])
    return made.with_security_token(who["token"]) if who["token"] else made


def call(url: str, who: dict[str, str], name: str, fields: dict[str, Any], body: Any) -> Any:
    word = "".join(part.capitalize() for part in name.split("_"))
    asked = getattr(v2, f"{word}Request")
    if body is not None:
        kind = getattr(v2, asked.openapi_types["body"].removeprefix("list[").removesuffix("]"))
        made = [kind(**one) for one in body] if isinstance(body, list) else kind(**body)
        fields = {**fields, "body": made}
    builder = v2.ImsClient.new_builder().with_credentials(credentials(who))
    client = builder.with_endpoint(url).build()
    return getattr(client, name)(asked(**fields)).to_json_object()


def sign(url: str, who: dict[str, str], what: dict[str, Any], body: bytes) -> dict[str, str]:
    request = SdkRequest(
        what["method"],
        "http",
        url.removeprefix("http://"),
        what["path"],
        query_params=[tuple(pair) for pair in what["query"]],
        header_params=what["headers"],
        body=body,
    )
    return dict(Signer(credentials(who)).sign(request).header_params)


def answer(url: str, what: dict[str, Any]) -> dict[str, Any]:
    try:
        if "sign" in what:
            body = bytes.fromhex(what["body"])
            return {"answer": sign(url, what["who"], what["sign"], body)}
        return {"answer": call(url, what["who"], what["call"], what["fields"], what["body"])}
    except exceptions.ServiceResponseException as error:
        about = {
            "status": error.status_code,
            "code": error.error_code,
            "message": error.error_msg,
            "request_id": error.request_id,
        }
        return {"refused": about}


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(answer(sys.argv[1], json.loads(line))), flush=True)
