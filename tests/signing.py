"""Real keys, certificates and signatures, and a key manager that castellan loads."""

import base64
import datetime
import functools
import pathlib
import uuid

from castellan.common import exception
from castellan.common.objects import x_509
from castellan.key_manager import not_implemented_key_manager
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

HASHES = {"SHA-256": hashes.SHA256(), "SHA-512": hashes.SHA512()}
KEYS = {
    "RSA-PSS": lambda: rsa.generate_private_key(65537, 2048),
    "ECC_SECP384R1": lambda: ec.generate_private_key(ec.SECP384R1()),
    "DSA": lambda: dsa.generate_private_key(1024),
}


@functools.cache
def key(kind):
    return KEYS[kind]()


def certificate(kind, directory: pathlib.Path) -> str:
    """Write a certificate of the key of this kind; its id."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")])
    start = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key(kind).public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=36500))
        .sign(key("RSA-PSS"), hashes.SHA256())
    )
    found = str(uuid.uuid4())
    (directory / f"{found}.pem").write_bytes(made.public_bytes(Encoding.PEM))
    return found


def sign(kind, method, data) -> str:
    """A signature as ``img_signature`` holds it."""
    algorithm = HASHES[method]
    if kind == "RSA-PSS":
        scheme = padding.PSS(padding.MGF1(algorithm), padding.PSS.MAX_LENGTH)
        signature = key(kind).sign(data, scheme, algorithm)
    elif kind == "DSA":
        signature = key(kind).sign(data, algorithm)
    else:
        signature = key(kind).sign(data, ec.ECDSA(algorithm))
    return base64.b64encode(signature).decode()


def properties(directory, data, kind="RSA-PSS", method="SHA-256"):
    """The properties of an image that is signed."""
    return {
        "img_signature": sign(kind, method, data),
        "img_signature_hash_method": method,
        "img_signature_key_type": kind,
        "img_signature_certificate_uuid": certificate(kind, directory),
    }


class Keys(not_implemented_key_manager.NotImplementedKeyManager):
    """What castellan loads as ``tests.signing.Keys``: certificates of ``directory``, for those
    who have the token ``user's``."""

    directory = pathlib.Path()

    def get(self, context, managed_object_id, metadata_only=False):
        if context.auth_token != "user's":
            raise exception.Forbidden
        try:
            text = (self.directory / f"{managed_object_id}.pem").read_bytes()
        except OSError as error:
            raise exception.ManagedObjectNotFoundError(uuid=managed_object_id) from error
        return x_509.X509(x509.load_pem_x509_certificate(text).public_bytes(Encoding.DER))
