"""What a command does not import: imports are most of what a start costs (benchmarks/start.py)."""

import subprocess
import sys

import pytest

from tests.functional.gateway import INI, ROOT, clean_env

_LOADED = "\nimport sys\nprint(*sys.modules)"

#: The code, and what it does without.
STARTS = {
    "inspect": (
        "from imsgate.cmd import main\nassert main.main(['inspect', sys.argv[1]]) == 0",
        {"imsgate.model", "imsgate.app", "sqlalchemy", "webob"},
    ),
    "serve": (
        "from imsgate.cmd import serve\n"
        "from imsgate.registry import sql\n"
        "from imsgate.server import pastefile\n"
        f"pastefile.loaded_parts('config:{INI}#main', {{}})",
        {
            *("imsgate.bridge_app", "imsgate.bridge.registration", "imsgate.spool", "h11"),
            *("sqlalchemy.dialects.mysql", "sqlalchemy.dialects.postgresql"),
            *("boto3", "alembic", "keystoneauth1"),
        },
    ),
}


@pytest.mark.parametrize(("code", "without"), STARTS.values(), ids=STARTS)
def test_a_start_imports_only_what_it_needs(code, without, tmp_path):
    image = tmp_path / "disk.raw"
    image.write_bytes(bytes(4096))
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}{_LOADED}", image],
        env=clean_env(tmp_path, PYTHONPATH=str(ROOT)),
        capture_output=True,
        text=True,
        check=True,
    )
    assert without & set(done.stdout.split()) == set()
