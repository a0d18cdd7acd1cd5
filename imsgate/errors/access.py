"""Who may not do something: missing or wrong credentials, and permissions."""

from typing import Any

from imsgate.errors.base import Error, Forbidden


class Unauthenticated(Error):
    status, reason = 401, "unauthenticated"
    code = "APIGW.0301"
    message = "This request needs a valid token"


class SignInRefused(Error):
    """Keystone does not accept a user name and password; ``problem`` are its words."""

    status, reason = 401, "unauthenticated"
    code = "APIGW.0301"
    message = "{problem}"


class KeyForbidden(Forbidden):
    reason, gateway_code = "key_forbidden", "APIGW.0302"
    message = "The access key {access} is not valid for project {project}"


# Signed requests. The messages are those of Huawei's API gateway where it has one.


class RequestNotSigned(Unauthenticated):
    """Base of what may be wrong with the signature of a request."""

    reason, gateway_code = "signature_missing", "APIGW.0301"
    message = "Incorrect IAM authentication information: x-auth-token not found"

    def __init__(self, **details: Any) -> None:
        super().__init__(headers={"WWW-Authenticate": "SDK-HMAC-SHA256"}, **details)


class SignatureMalformed(RequestNotSigned):
    reason = "signature_malformed"
    message = "Incorrect IAM authentication information: {problem}"


class KeyUnknown(RequestNotSigned):
    reason = "key_unknown"
    message = (
        "Incorrect IAM authentication information: "
        "Get secretKey failed,ak:{access},err:ak not exist"
    )


class SignatureExpired(RequestNotSigned):
    reason = "signature_expired"
    message = (
        "Incorrect IAM authentication information: calc aksk signature fail:signature expired, "
        "signature time:{signed},server time:{now}"
    )


class SignatureMismatch(RequestNotSigned):
    reason = "signature_mismatch"
    message = (
        "Incorrect IAM authentication information: "
        "verify aksk signature fail, canonicalRequest:{canonical}"
    )


class SecurityTokenRefused(RequestNotSigned):
    reason = "security_token_refused"
    message = (
        "Incorrect IAM authentication information: "
        "the security token is missing or does not belong to ak {access}"
    )


class SignedBodyTooLarge(RequestNotSigned):
    reason = "signed_body_too_large"
    message = "Incorrect IAM authentication information: calc aksk signature fail:body too large"


class SignedBodyDiffers(RequestNotSigned):
    reason = "signed_body_differs"
    message = (
        "Incorrect IAM authentication information: verify aksk signature fail, "
        "the body has the hash {found}, not {signed}"
    )
