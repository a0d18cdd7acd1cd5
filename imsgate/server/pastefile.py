"""The Paste file: finding it, loading its application, and explaining why it does not load."""

import configparser
import contextlib
import pathlib
import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from paste.deploy import loadwsgi

import imsgate
from imsgate import config
from imsgate.errors import BadConfig
from imsgate.http.wsgi import WsgiApp

#: The application of the Paste file that is served by default.
_MAIN = "main"
#: Packages that the extra imsgate[keystone] installs.
_KEYSTONE_PACKAGES = ("keystoneauth1", "keystonemiddleware")
#: Both spellings are PasteDeploy's.
_COMPOSITE_PROTOCOLS = ("paste.composite_factory", "paste.composit_factory")


def uri(conf: config.Config, path: str | None) -> str:
    """The application to serve, in PasteDeploy's notation.

    ``path`` is a Paste file; None means the installed one. Raises BadConfig if there is none.
    """
    flavor = conf.read(config.PasteSettings).flavor or _MAIN
    return f"config:{find(path)}#{flavor}"


def find(path: str | None) -> str:
    """The absolute path of this Paste file, or of the first that is installed.

    Raises BadConfig if there is none.
    """
    if path:
        candidates = [pathlib.Path(path)]
    else:
        candidates = [pathlib.Path(place) / "imsgate-paste.ini" for place in _directories()]
    for candidate in candidates:
        if candidate.is_file():
            return str(candidate.resolve())
    raise BadConfig("imsgate-paste.ini", f"not found in {', '.join(map(str, candidates))}")


def _directories() -> list[str]:
    """Where a package of the system, pip and ``pip --user`` install it, and the source tree's."""
    user = sysconfig.get_preferred_scheme("user")
    data = (sys.prefix, sysconfig.get_path("data"), sysconfig.get_path("data", user))
    source_tree = pathlib.Path(imsgate.__file__).parent.parent
    installed = [f"{root}/etc/imsgate" for root in dict.fromkeys(data)]
    return ["/etc/imsgate", *installed, str(source_tree / "etc")]


def load(paste: str, global_conf: Mapping[str, str]) -> WsgiApp:
    """Build the application that ``uri`` returned, with all its filters. Raises BadConfig."""
    try:
        app: WsgiApp = loadwsgi.loadapp(paste, global_conf=global_conf)
    except (LookupError, ImportError) as error:
        raise _unloadable(paste, error) from error
    return app


def filter_options(loaded: Sequence[Any], entry_point: str) -> dict[str, str] | None:
    """The Paste keys of the first filter with this entry point, or None if no pipeline has one."""
    for context in loaded:
        if context.object_type is loadwsgi.FILTER and context.entry_point_name == entry_point:
            return dict(context.local_conf)
    return None


def exact_paths(loaded: Sequence[Any]) -> frozenset[str]:
    """The paths that ``egg:imsgate#paths`` serves by an application of their own."""
    main, *_ = loaded
    paths = main.local_conf if main.entry_point_name == "paths" else ()
    return frozenset(path for path in paths if not path.endswith("/"))


def has_app(loaded: Sequence[Any], factory: str) -> bool:
    """Whether this factory, ``module:name``, makes one of the applications."""
    return app_options(loaded, factory) is not None


def app_options(loaded: Sequence[Any], factory: str) -> dict[str, str] | None:
    """The Paste keys of the first application that ``factory`` makes, or None if there is none.

    The factory is named (``module:name``), so that nobody imports it to ask whether it is used.
    """
    module, _, name = factory.partition(":")
    for context in loaded:
        made_by = context.object
        if getattr(made_by, "__module__", None) == module and made_by.__name__ == name:
            return dict(context.local_conf)
    return None


def loaded_parts(paste: str, global_conf: Mapping[str, str]) -> list[Any]:
    """PasteDeploy's contexts of all filters and applications, which the functions here look at.

    Builds none of them. It takes a tenth of a second, so a start does it once. Raises BadConfig if
    the Paste file cannot be read.
    """
    try:
        return list(parts(loadwsgi.loadcontext(loadwsgi.APP, paste, global_conf=global_conf)))
    except (LookupError, OSError, ValueError, ImportError, configparser.Error) as error:
        raise _unloadable(paste, error) from error


def check_applications(paste: str, global_conf: Mapping[str, str]) -> None:
    """Raises BadConfig if an application of ``egg:imsgate#paths`` names a part that is missing."""
    main, *_ = loaded_parts(paste, global_conf)
    if main.entry_point_name == "paths":
        try:
            for name in main.local_conf.values():
                main.loader.get_context(loadwsgi.APP, name)
        except (LookupError, ImportError) as error:
            raise _unloadable(paste, error) from error


def filters(context: Any) -> Iterator[Any]:
    """PasteDeploy's contexts of the filters of this application, in their order."""
    return (part for part in parts(context) if part.object_type is loadwsgi.FILTER)


def parts(context: Any) -> Iterator[Any]:
    """PasteDeploy's contexts of all filters and applications of this application."""
    yield context
    yield from getattr(context, "filter_contexts", ())
    for name in ("filter_context", "app_context", "next_context"):
        if hasattr(context, name):
            yield from parts(getattr(context, name))
    if context.protocol in _COMPOSITE_PROTOCOLS:
        for name in context.local_conf.values():
            # Not every key of a composite names an application.
            with contextlib.suppress(LookupError):
                yield from parts(context.loader.get_context(loadwsgi.APP, name))


def _unloadable(paste: str, error: Exception) -> BadConfig:
    """Why PasteDeploy could not load ``paste``, and which option chose it."""
    problem = str(error)
    if (
        isinstance(error, ImportError)
        and (error.name or "").partition(".")[0] in _KEYSTONE_PACKAGES
    ):
        problem += "; this needs the extra imsgate[keystone]"
    if paste.endswith(f"#{_MAIN}"):
        return BadConfig(paste, problem)
    return BadConfig(f"[{config.PASTE_GROUP}] flavor", f"{paste}: {problem}")
