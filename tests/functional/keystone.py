"""A real Keystone on SQLite and the loopback interface, and gateways that trust it."""

import contextlib
import fcntl
import importlib.metadata
import importlib.util
import json
import os
import pathlib
import shutil
import signal
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any

from cryptography import fernet
from keystoneauth1.exceptions import ClientException
from keystoneauth1.identity import v3
from keystoneauth1.session import Session

from tests import markers
from tests.functional import programs
from tests.functional.gateway import BIN, HOST, PATIENCE, Gateway, clean_env, eventually, free_port

AVAILABLE = importlib.util.find_spec("keystone") is not None
REGION = "RegionOne"

_CONF = """
[DEFAULT]
log_file = {directory}/keystone.log
public_endpoint = http://{host}:{port}
[database]
connection = sqlite:///{state}/keystone.db
[cache]
enabled = true
backend = dogpile.cache.memory
[token]
expiration = {expiration}
[fernet_tokens]
key_repository = {state}/fernet
[fernet_receipts]
key_repository = {state}/fernet
[identity]
password_hash_rounds = 4
"""

#: User, project and the roles there. The password is the name.
_PEOPLE = (
    ("demo", "demo", "member"),
    ("reader", "demo", "reader"),
    ("alt", "alt", "member"),
    ("svc", "service", "service"),
)


class Keystone:
    """One server process. ``of`` makes it a second one on the data of another."""

    def __init__(
        self, directory: pathlib.Path, *, expiration: int = 3600, of: "Keystone | None" = None
    ) -> None:
        """``expiration`` is how long the tokens it issues are valid, in seconds."""
        directory.mkdir(exist_ok=True)
        self.directory = directory
        self.state = of.state if of else directory
        self.port = free_port()
        self.url = f"http://{HOST}:{self.port}/v3"
        self._fresh = of is None
        conf = {"directory": directory, "state": self.state, "host": HOST, "port": self.port}
        (directory / "keystone.conf").write_text(_CONF.format(**conf, expiration=expiration))
        self._admin: Session | None = None
        self._ids: dict[tuple[str, str], str] = {}
        self._process: programs.Server | None = None

    def start(self) -> "Keystone":
        markers.require("keystone")
        if self._fresh:
            # As fernet_setup does, which takes 3 s of CPU: a key to come, and one in use.
            (self.state / "fernet").mkdir(mode=0o700)
            for number in range(2):
                (self.state / "fernet" / str(number)).write_bytes(fernet.Fernet.generate_key())
            self._create_database()
        self._serve()
        if self._fresh:
            self._fresh = False
            self._populate()
        return self

    def _create_database(self) -> None:
        """A copy of what two commands made, which take 15 s, for the first Keystone of this venv.

        Only the URL of the endpoints differs.
        """
        version = importlib.metadata.version("keystone")
        template = BIN.parent / ".cache" / f"keystone-{version}-bootstrapped.db"
        template.parent.mkdir(exist_ok=True)
        with open(template.with_suffix(".lock"), "w", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not template.exists():
                self._manage("db_sync")
                words = ["--bootstrap-password=admin", f"--bootstrap-region-id={REGION}"]
                words += [f"--bootstrap-{kind}-url={self.url}" for kind in ("public", "internal")]
                self._manage("bootstrap", *words)
                (self.state / "keystone.db").replace(template)
        shutil.copyfile(template, self.state / "keystone.db")
        with contextlib.closing(sqlite3.connect(self.state / "keystone.db")) as database, database:
            database.execute("UPDATE endpoint SET url = ?", [self.url])

    def _manage(self, *args: str) -> None:
        conf = f"--config-file={self.directory / 'keystone.conf'}"
        done = programs.run(["keystone-manage", conf, *args], self._env(), self.directory)
        assert done.returncode == 0, done.stderr

    def _env(self) -> dict[str, str]:
        return clean_env(self.directory, OS_KEYSTONE_CONFIG_DIR=str(self.directory))

    def _serve(self) -> None:
        log = self.directory / "server.log"
        self._process = programs.spawn(["keystone", str(self.port)], log, self._env())
        try:
            eventually(self._serves, "Keystone serves")
        except BaseException:
            self.stop()
            raise

    def _serves(self) -> bool:
        assert self._process is not None
        log = self.directory / "server.log"
        assert self._process.poll() is None, log.read_text()
        try:
            return bool(Session(timeout=5).get(self.url).ok)
        except ClientException:
            return False

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGTERM)
            self._process.wait(PATIENCE)

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        """Nothing listens on its port while the block runs."""
        assert self._process is not None
        self._process.send_signal(signal.SIGUSR1)
        eventually(lambda: not self._serves(), "Keystone is away")
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGUSR1)
            eventually(self._serves, "Keystone serves again")

    # What is in it

    def session(self, user: str = "admin", project: str | None = None, **scope: Any) -> Session:
        """``user`` in its project of the same name, or in the scope given."""
        auth = {"username": user, "password": user, "user_domain_id": "default"}
        if not scope:
            scope = {"project_name": project or user, "project_domain_id": "default"}
        return Session(v3.Password(self.url, **auth, **scope), timeout=PATIENCE)

    def token(self, user: str = "admin", project: str | None = None, **scope: Any) -> str:
        return str(self.session(user, project, **scope).get_token())

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """As its administrator; the JSON of the answer."""
        fields = {name.replace("_", "-"): text for name, text in headers.items()}
        self._admin = self._admin or self.session()
        answer = self._admin.request(self.url + path, method, json=body, headers=fields)
        return answer.json() if answer.content else None

    def id(self, kind: str, name: str) -> str:
        """The id of a user, project, role or service, which is made where there is none."""
        if (kind, name) not in self._ids:
            found = self.call("GET", f"/{kind}s?name={name}")[f"{kind}s"]
            if not found:
                more = {"user": {"password": name}, "service": {"type": "image"}}.get(kind, {})
                found = [self.call("POST", f"/{kind}s", {kind: {"name": name, **more}})[kind]]
            self._ids[kind, name] = str(found[0]["id"])
        return self._ids[kind, name]

    def grant(self, user: str, project: str, role: str, method: str = "PUT") -> None:
        """Give a role, or take it with ``DELETE``."""
        ids = (self.id("project", project), self.id("user", user), self.id("role", role))
        self.call(method, "/projects/{}/users/{}/roles/{}".format(*ids))

    def _populate(self) -> None:
        for user, project, role in _PEOPLE:
            self.grant(user, project, role)

    def validates(self, token: str) -> bool:
        """Whether a token is valid now."""
        answer = self.session("svc", "service").get(
            f"{self.url}/auth/tokens", headers={"X-Subject-Token": token}, raise_exc=False
        )
        return bool(answer.status_code == 200)

    def register(self, url: str) -> None:
        """Make ``url`` the image service of the catalog."""
        service = self.id("service", "imsgate")
        for endpoint in self.call("GET", f"/endpoints?service_id={service}")["endpoints"]:
            self.call("DELETE", f"/endpoints/{endpoint['id']}")
        body = {"interface": "public", "region_id": REGION, "url": url, "service_id": service}
        self.call("POST", "/endpoints", {"endpoint": body})

    def clouds(self, path: pathlib.Path) -> None:
        """Write a clouds.yaml with a cloud for each user, named like it."""

        def cloud(user: str, project: str) -> dict[str, Any]:
            auth = {"auth_url": self.url, "username": user, "password": user}
            auth |= {"project_name": project, "user_domain_name": "Default"}
            return {"auth": {**auth, "project_domain_name": "Default"}, "region_name": REGION}

        people = [("admin", "admin"), *((user, project) for user, project, _ in _PEOPLE)]
        clouds = {user: cloud(user, project) for user, project in people}
        path.write_text(json.dumps({"clouds": clouds}))  # JSON is YAML


class StackGateway(Gateway):
    """A gateway whose users are Keystone's."""

    def __init__(self, directory: pathlib.Path, keystone: Keystone, **options: Any) -> None:
        super().__init__(directory, **options)
        self.keystone = keystone

    def token(self, project: str = "demo", roles: Sequence[str] = ("member", "reader")) -> str:
        """Of the user of ``roles`` in a project, issued once."""
        user = "reader" if tuple(roles) == ("reader",) else project
        key = (project, user)
        if key not in self._tokens:
            self._tokens[key] = self.keystone.token(user, project)
        return self._tokens[key]


def config(keystone: Keystone) -> str:
    """What an operator adds to imsgate.conf."""
    return f"""
[paste_deploy]
flavor = keystone

[keystone_authtoken]
www_authenticate_uri = {keystone.url}
auth_url = {keystone.url}
auth_type = password
username = svc
password = svc
project_name = service
user_domain_name = Default
project_domain_name = Default
service_token_roles = service
service_token_roles_required = true
"""
