"""What the factories put together, and what they refuse to start with."""

import threading

import pytest
from paste.deploy import loadwsgi

from imsgate import app, config
from imsgate.errors import BadConfig
from imsgate.registry.loader import load_registry
from imsgate.registry.memory import MemoryRegistry
from imsgate.server import pastefile
from imsgate.testing import apps, servers
from tests.functional.gateway import INI

MEMORY = """
[DEFAULT]
enabled_backends = fast:memory
[registry]
driver = memory
"""

#: With a store that cannot keep a part of an upload.
WITH_WHOLE = (
    MEMORY.replace("fast:memory", "fast:memory, whole:glance")
    + "[glance_store]\ndefault_backend = fast\n[whole]\nglance_store_driver = file\n"
    + "filesystem_store_datadir = $state_path\n"
)


@pytest.fixture
def global_conf(tmp_path):
    """Paste's global section for a configuration of this text."""

    def write(text=MEMORY):
        path = tmp_path / "imsgate.conf"
        path.write_text(text)
        return {"config_file": str(path), "state_path": str(tmp_path)}

    return write


@pytest.fixture
def sweeps(monkeypatch):
    """The threads that would sweep, none of them started."""
    made = []

    class Thread(threading.Thread):
        def start(self):
            made.append(self)

    monkeypatch.setattr(app.threading, "Thread", Thread)
    return made


def test_a_gate_is_made(global_conf, sweeps):
    gate = app.app_factory(global_conf())
    answer = servers.serve(gate, servers.environ(PATH_INFO="/versions"))
    assert answer.code == 200
    assert [(thread.name, thread.daemon) for thread in sweeps] == [
        ("sweep", True),
        *[("jobs", True)] * 4,
        ("verification", True),
    ]


def test_the_registry_is_found_by_its_entry_point(global_conf):
    assert isinstance(load_registry(config.load(global_conf())), MemoryRegistry)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        pytest.param("[registry]\ndriver = none\n", "[registry] driver", id="registry"),
        pytest.param(MEMORY.replace("fast:memory", "fast:none"), "[DEFAULT] enabled_backends",
                     id="store"),
        pytest.param(MEMORY + "[api]\napi_limit_max = 0\n", "[api] api_limit_max", id="api"),
        pytest.param(MEMORY + "[upload]\nlease = 0\n", "[upload] lease", id="lease"),
        pytest.param(MEMORY + "[upload]\nhashing_algorithm = crc32\n",
                     "[upload] hashing_algorithm", id="algorithm"),
        pytest.param(MEMORY + "[upload]\nstaging_store = nosuch\n", "[upload] staging_store",
                     id="staging store"),
        pytest.param(MEMORY + "[upload]\nspool_store = nosuch\n", "[upload] spool_store",
                     id="spool store"),
        pytest.param(WITH_WHOLE + "[upload]\nspool_store = whole\n", "[upload] spool_store",
                     id="spool store for whole objects only"),
    ],
)  # fmt: skip
def test_what_cannot_work_refuses_to_start(global_conf, sweeps, text, key):
    with pytest.raises(BadConfig) as caught:
        app.app_factory(global_conf(text))
    assert caught.value.key == key
    assert sweeps == []


def test_paste_keys_are_options_of_the_api(global_conf, sweeps):
    app.app_factory(global_conf(), limit_param_default="5")
    with pytest.raises(BadConfig) as caught:
        app.app_factory(global_conf(), no_such_option="5")
    assert caught.value.key == "api.no_such_option"


# Paths

PASTE = """
[composite:main]
use = egg:imsgate#paths
/ = one
/other = two
/below/ = three
/below/deep/ = two
[app:one]
paste.app_factory = tests.test_app:one
[app:two]
paste.app_factory = tests.test_app:two
[app:three]
paste.app_factory = tests.test_app:three
"""
ONE, TWO, THREE = apps.App(), apps.App(), apps.App()


def one(global_conf):
    return ONE


def two(global_conf):
    return TWO


def three(global_conf):
    return THREE


@pytest.fixture
def paths(tmp_path):
    ini = tmp_path / "paste.ini"
    ini.write_text(PASTE)
    return loadwsgi.loadapp(f"config:{ini}")


@pytest.mark.parametrize(
    ("path", "expected"),
    [("/", ONE), ("", ONE), ("/other", TWO), ("/other/", ONE), ("/other/x", ONE), ("/\xff", ONE)],
)
def test_each_path_has_its_application(paths, path, expected):
    before = len(expected.environs)
    servers.serve(paths, servers.environ(PATH_INFO=path, SCRIPT_NAME="" if path else "/x"))
    assert len(expected.environs) == before + 1


@pytest.mark.parametrize(
    ("path", "expected", "script", "rest"),
    [
        ("/below/", THREE, "/x/below", "/"),
        ("/below/a//b", THREE, "/x/below", "/a//b"),
        ("/below/deep", None, "", ""),
        ("/below/deep/er", TWO, "/x/below/deep", "/er"),
        ("/belowdeep", ONE, "/x", "/belowdeep"),
        ("//below/a", ONE, "/x", "//below/a"),
        ("/below", None, "", ""),
    ],
)
def test_a_slash_at_the_end_stands_for_all_paths_below(paths, path, expected, script, rest):
    answer = servers.serve(paths, servers.environ(PATH_INFO=path, SCRIPT_NAME="/x"))
    if expected is None:
        assert (answer.code, answer.header("Location")) == (308, path.rpartition("/")[2] + "/")
    else:
        environ = expected.environs[-1]
        assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == (script, rest)


def test_paths_need_one_for_all_the_rest():
    with pytest.raises(BadConfig) as caught:
        app.composite_factory(None, {}, **{"/other": "two"})
    assert caught.value.key == "[composite] /"


FLAVORS = {
    "main": ["tokens", "identity"],
    "keystone": ["authtoken", "identity"],
    "aksk": ["aksk", "identity"],
    "tokens+aksk": ["tokens", "aksk", "identity"],
    "keystone+aksk": ["authtoken", "aksk", "identity"],
}


@pytest.mark.parametrize("flavor", FLAVORS)
def test_every_shipped_flavor_is_whole(flavor):
    """Each begins and ends as the others; who may come in is what differs."""
    ini = f"config:{INI}#{flavor}"
    context = loadwsgi.loadcontext(loadwsgi.APP, ini, global_conf={})
    named = _filters(context.loader.get_context(loadwsgi.APP, context.local_conf["/"]))
    first = ["faults", "metrics", "cors", "proxy", "pace"]
    last = ["headers", "encoding", "sizelimit", "sniff"]
    assert named == [*first, *FLAVORS[flavor], *last]


def test_the_flavor_in_front_of_another_service():
    """It asks that service for the declared format, and needs no page, registry or tokens."""
    context = loadwsgi.loadcontext(loadwsgi.APP, f"config:{INI}#front", global_conf={})
    assert set(context.local_conf) == {"/", "/healthcheck"}
    pipeline = context.loader.get_context(loadwsgi.APP, context.local_conf["/"])
    assert _filters(pipeline) == [
        *("faults", "metrics", "cors", "proxy", "pace", "headers", "sizelimit", "sniff")
    ]
    *_, sniff = pastefile.filters(pipeline)
    assert sniff.local_conf["ask_record"] == "true"
    *_, served = pastefile.parts(pipeline)
    assert served.entry_point_name == "forward"


def test_the_flavor_in_front_of_ims():
    """It authenticates by itself, and needs no page."""
    context = loadwsgi.loadcontext(loadwsgi.APP, f"config:{INI}#bridge", global_conf={})
    assert set(context.local_conf) == {"/", "/healthcheck"}
    pipeline = context.loader.get_context(loadwsgi.APP, context.local_conf["/"])
    assert _filters(pipeline) == [
        *("faults", "metrics", "cors", "proxy", "pace", *FLAVORS["tokens+aksk"]),
        *("headers", "encoding", "sizelimit", "sniff"),
    ]
    *_, served = pastefile.parts(pipeline)
    assert served.entry_point_name == "bridge"


@pytest.mark.parametrize("flavor", FLAVORS)
def test_every_shipped_flavor_with_tokens_has_the_page(flavor):
    """With passwords where Keystone checks the tokens."""
    ini = f"config:{INI}#{flavor}"
    context = loadwsgi.loadcontext(loadwsgi.APP, ini, global_conf={})
    if flavor == "aksk":
        assert "/ui/" not in context.local_conf
        return
    ui = context.loader.get_context(loadwsgi.APP, context.local_conf["/ui/"])
    assert _filters(ui) == ["faults", "metrics", "proxy", "pace"]
    *_, served = pastefile.parts(ui)
    assert served.entry_point_name == "page"
    assert served.local_conf.get("keystone_sign_in") == ("true" if "keystone" in flavor else None)


def test_the_page_shares_its_threads_with_the_api():
    """Only single paths that must always answer have threads of their own."""
    parts = pastefile.loaded_parts(f"config:{INI}#main", {})
    assert pastefile.exact_paths(parts) == {"/healthcheck"}
    assert pastefile.has_app(parts, "imsgate.page.page:app_factory")
    assert not pastefile.has_app(parts, "imsgate.bridge_app:app_factory")


def _filters(context):
    names = [found.entry_point_name for found in pastefile.filters(context)]
    return [name for name in names if name]
