"""Certificates of signed images and the verification of signatures, by cursive and castellan.

``imsgate.signatures.verify`` imports this module if the operator has configured certificates.
"""

import os
import pathlib
import uuid
from collections.abc import Mapping
from typing import Any

from castellan import key_manager
from castellan.common import exception as castellan
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding
from cursive import exception as cursive
from cursive import signature_utils
from oslo_config import cfg
from oslo_context import context

from imsgate.errors import BadConfig, SignatureRefused


class CertificateDirectory:
    """Certificates in the files of one directory, each named UUID.pem."""

    def __init__(self, path: str, key: str) -> None:
        """Raises BadConfig, naming ``key``."""
        self._path = pathlib.Path(path)
        if not os.access(self._path, os.R_OK | os.X_OK) or not self._path.is_dir():
            raise BadConfig(
                key, f"{path!r} is neither 'castellan' nor a directory that can be read"
            )

    def __call__(self, name: str, token: str | None, project: str | None) -> bytes:
        """Raises SignatureRefused."""
        try:
            # uuid.UUID keeps anything but an id out of the path.
            text = (self._path / f"{uuid.UUID(name)}.pem").read_bytes()
            return x509.load_pem_x509_certificate(text).public_bytes(Encoding.DER)
        except (ValueError, OSError) as error:
            raise SignatureRefused(problem="its certificate cannot be found") from error


class KeyManager:
    """Certificates from castellan's key manager, requested with the user's token."""

    def __init__(self, native: cfg.ConfigOpts) -> None:
        """Raises BadConfig."""
        try:
            self._manager: Any = key_manager.API(native)
        except Exception as error:  # each driver raises its own exceptions
            raise BadConfig("[key_manager] backend", str(error)) from error

    def __call__(self, name: str, token: str | None, project: str | None) -> bytes:
        """Raises SignatureRefused."""
        requester = context.RequestContext(auth_token=token, project_id=project, overwrite=False)
        try:
            secret = self._manager.get(requester, name)
        except castellan.ManagedObjectNotFoundError as error:
            raise SignatureRefused(problem="its certificate cannot be found") from error
        except castellan.CastellanException as error:
            raise SignatureRefused(problem="the key manager does not return its certificate") from (
                error
            )
        if getattr(secret, "format", None) != signature_utils.X_509:
            raise SignatureRefused(problem="the secret that the image names is not a certificate")
        return bytes(secret.get_encoded())


class _Verification:
    """A tap that refuses data that does not match the signature."""

    def __init__(self, verifier: Any) -> None:
        self._verifier = verifier

    def feed(self, chunk: bytes) -> None:
        self._verifier.update(chunk)

    def finish(self) -> None:
        try:
            self._verifier.verify()
        except (InvalidSignature, ValueError, UnsupportedAlgorithm) as error:
            raise SignatureRefused(problem="the signature does not match the data") from error


def verification(properties: Mapping[str, str], certificate: bytes) -> _Verification:
    """The tap that verifies the data. Raises SignatureRefused."""
    try:
        kind = signature_utils.SignatureKeyType.lookup(properties["img_signature_key_type"])
        method = signature_utils.get_hash_method(properties["img_signature_hash_method"])
        signature = signature_utils.get_signature(properties["img_signature"])
        key = x509.load_der_x509_certificate(certificate).public_key()
    except cursive.SignatureVerificationError as error:
        raise SignatureRefused(problem=str(error)) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise SignatureRefused(problem="its certificate cannot be used") from error
    verifier = kind.create_verifier(signature, method, key)
    if verifier is None or not isinstance(key, kind.public_key_type):
        raise SignatureRefused(problem="its certificate has a key of another type")
    return _Verification(verifier)
