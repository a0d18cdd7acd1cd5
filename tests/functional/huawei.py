"""Access keys, and the vendor's unmodified SDK, which runs in a process of ``huawei_sdk``."""

import importlib.util
import json
import pathlib
import subprocess
import sys
from typing import Any

from imsgate.auth import key_file
from imsgate.auth.key_file import Issued
from tests.functional.gateway import PATIENCE, ROOT, Gateway, clean_env

AVAILABLE = importlib.util.find_spec("huaweicloudsdkims") is not None


def key_files(gateway: Gateway) -> tuple[str, str]:
    """The files of access keys and of the key that seals them."""
    return str(gateway.state / "keys"), str(gateway.state / "keys.seal")


def add_key(gateway: Gateway, *projects: str, temporary: bool = False) -> Issued:
    """Create an access key of a member of these projects."""
    user = {"user": "signer", "roles": ["member", "reader"], "temporary": temporary}
    return key_file.add(*key_files(gateway), projects=projects, **user)


class Refused(Exception):
    """An error of the SDK: ``status``, ``code``, ``message`` and ``request_id``."""

    def __init__(self, about: dict[str, Any]) -> None:
        super().__init__(about)
        self.status: int = about["status"]
        self.code: str = about["code"]
        self.message: str = about["message"]
        self.request_id: str = about["request_id"]


class Process:
    """One process of the SDK, for any number of users."""

    def __init__(self, gateway: Gateway, home: pathlib.Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "tests.functional.huawei_sdk", gateway.url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=home,
            env=clean_env(home, PYTHONPATH=str(ROOT)),
            text=True,
        )

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait(PATIENCE)
        self._process.stdout.close()

    def ask(self, **what: Any) -> Any:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        if "refused" in answer:
            raise Refused(answer["refused"])
        return answer["answer"]


class Huawei:
    """A user with an access key, and the project in the requests (None for no project)."""

    def __init__(self, process: Process, key: Issued, project: str | None) -> None:
        self._process = process
        self._who = {"ak": key.access, "sk": key.secret, "token": key.token, "project": project}

    def call(self, method: str, body: Any = None, **fields: Any) -> Any:
        """One method of the SDK's client; the answer's members. Raises Refused.

        ``fields`` are those of its request, ``body`` the members of its body (a list of
        them, where it is one).
        """
        return self._process.ask(who=self._who, call=method, fields=fields, body=body)

    def sign(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        query: list[tuple[str, str]] | None = None,
        **headers: str,
    ) -> dict[str, str]:
        """The headers of a request as the SDK's signer leaves them; ``_`` stands for ``-``."""
        fields = {name.replace("_", "-"): text for name, text in headers.items()}
        what = {"method": method, "path": path, "query": query or [], "headers": fields}
        signed: dict[str, str] = self._process.ask(who=self._who, sign=what, body=body.hex())
        return signed
