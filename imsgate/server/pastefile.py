"""The Paste file: which is meant, which application of it, and why it cannot be loaded."""

import pathlib
import sys

import imsgate
from imsgate import config
from imsgate.errors import BadConfig

#: The application of the Paste file that is served by default.
_MAIN = "main"
#: What the extra imsgate[keystone] brings.
_KEYSTONE = ("keystoneauth1", "keystonemiddleware")


def uri(conf: config.Config, named: str | None) -> str:
    """The application to serve, as PasteDeploy names it. Raises BadConfig."""
    flavor = conf.section(config.PASTE_GROUP, config.PASTE_OPTS).flavor or _MAIN
    return f"config:{find(named)}#{flavor}"


def unloadable(paste: str, error: Exception) -> BadConfig:
    """Why PasteDeploy could not load what ``uri`` named."""
    problem = str(error)
    if isinstance(error, ImportError) and (error.name or "").partition(".")[0] in _KEYSTONE:
        problem += "; this needs the extra imsgate[keystone]"
    if paste.endswith(f"#{_MAIN}"):
        return BadConfig(paste, problem)
    return BadConfig(f"[{config.PASTE_GROUP}] flavor", f"{paste}: {problem}")


def find(named: str | None) -> str:
    """The Paste file named, or the first that is installed. Raises BadConfig."""
    if named:
        candidates = [pathlib.Path(named)]
    else:
        source_tree = pathlib.Path(imsgate.__file__).parent.parent
        places = ("/etc/imsgate", f"{sys.prefix}/etc/imsgate", str(source_tree / "etc"))
        candidates = [pathlib.Path(place) / "imsgate-paste.ini" for place in places]
    for path in candidates:
        if path.is_file():
            return str(path.resolve())
    raise BadConfig("imsgate-paste.ini", f"not found in {', '.join(map(str, candidates))}")
