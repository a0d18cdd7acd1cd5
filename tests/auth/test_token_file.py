"""The token file: what is kept, compared and written."""

import concurrent.futures
import contextlib
import hmac
import itertools
import json
import os
import stat
import subprocess
import sys

import pytest

from imsgate import errors
from imsgate.auth import jsonl, token_file
from imsgate.cmd import main

LINE = {"sha256": "0" * 64, "user": "u", "project": "p", "roles": ["member"]}


@pytest.fixture
def path(tmp_path):
    """The token file, with nobody in it."""
    path = tmp_path / "tokens"
    path.write_text("")
    return path


def add(path, user="u1", **more):
    return token_file.add(str(path), user=user, project="p1", roles=["member", "reader"], **more)


def test_every_entry_is_compared_in_constant_time(path, monkeypatch):
    token = add(path)
    add(path)
    add(path)
    compared = []
    genuine = hmac.compare_digest

    def compare(one, other):
        compared.append(one)
        return genuine(one, other)

    monkeypatch.setattr(token_file.hmac, "compare_digest", compare)
    entries = token_file.load(str(path))
    assert token_file.find(entries, token, 0.0).user == "u1"
    assert compared == [entry.sha256 for entry in entries]


def test_a_token_is_a_word_for_every_shell_and_command():
    """One that began with a dash would be an option."""
    token = token_file.new()
    assert len(token) == 64
    assert token.isalnum()


def test_the_file_holds_no_token_and_is_its_owners_alone(tmp_path):
    path = tmp_path / "new" / "tokens"
    token = add(path)
    assert token not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert len(token) >= 43


def test_a_file_that_its_group_may_read_stays_so(path):
    path.chmod(0o644)
    add(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.skipif(os.geteuid() != 0, reason="nobody else can give files away")
def test_what_root_writes_belongs_to_whom_it_did(path):
    """The service that reads the file is somebody else."""
    os.chown(path.parent, 65534, 65533)
    os.chown(path, 65534, 65532)
    add(path)
    add(path.with_name("new"))
    owners = {
        name: (path.with_name(name).stat().st_uid, path.with_name(name).stat().st_gid)
        for name in os.listdir(path.parent)
    }
    theirs = (65534, 65533)
    assert owners == {
        "tokens": (65534, 65532),
        "tokens.lock": theirs,
        "new": theirs,
        "new.lock": theirs,
    }


@pytest.mark.parametrize("name", ["tokens.lock", "tokens.new"])
def test_links_of_others_lead_to_no_other_file(path, name):
    """In a directory of the service's, it could have root write, or give it, any file."""
    precious = path.with_name("precious")
    precious.write_text("precious")
    path.with_name(name).symlink_to(precious)
    with contextlib.suppress(errors.BadConfig):
        add(path)
    assert precious.read_text() == "precious"
    assert os.stat(precious).st_ino != os.stat(path).st_ino


def test_a_last_line_without_an_end_stays_a_line(path):
    path.write_text(json.dumps(LINE))
    add(path)
    assert [token.user for token in token_file.load(str(path))] == ["u", "u1"]


def test_nothing_is_added_to_a_broken_file(path):
    path.write_text("{")
    with pytest.raises(errors.BadConfig):
        add(path)
    assert path.read_text() == "{"


def test_removing_leaves_all_other_lines_as_they_are(path):
    path.write_bytes(b"# alice\n" + json.dumps(LINE).encode() + b"\n\n{\n\xff\r\n")
    before = path.read_bytes()
    token = add(path)
    assert not token_file.remove(str(path), "f" * 16)
    assert not token_file.remove(str(path), "")
    assert token_file.remove(str(path), jsonl.digest(token)[:16])
    assert not token_file.remove(str(path), jsonl.digest(token)[:16])
    assert path.read_bytes() == before


OTHER = {**LINE, "sha256": "1" * 64}
ODD_LINES = {
    "byte order mark": b"\xef\xbb\xbf%s\n%s",
    "byte order mark, comment": b"\xef\xbb\xbf# tokens\n%s\n%s",
    "CRLF": b"%s\r\n\r\n%s\r\n",
    "CR": b"# tokens\r%s\r\r%s\r",
    "CR, no end": b"%s\r%s",
    "tabs and spaces": b"\t%s \t\n\t\n  %s  ",
    "comments": b"%s  # alice\n  # bob\n%s# bob",
}


@pytest.mark.parametrize("form", ODD_LINES.values(), ids=ODD_LINES)
def test_lines_as_editors_write_them(path, form, caplog):
    lines = [json.dumps(entry).encode() for entry in (LINE, OTHER)]
    path.write_bytes(form.replace(b"%s", lines[0], 1).replace(b"%s", lines[1]))
    assert [token.sha256[0] for token in token_file.load(str(path))] == ["0", "1"]
    assert token_file.remove(str(path), "0" * 16)
    assert [token.sha256[0] for token in token_file.load(str(path))] == ["1"]
    assert caplog.text == ""


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_a_file_in_utf_16_is_refused_in_plain_words(path, encoding):
    content = f"# tokens\n{json.dumps(LINE)}\n".encode(encoding)
    path.write_bytes(content)
    for change in (token_file.load, add, lambda path: token_file.remove(str(path), "0" * 16)):
        with pytest.raises(errors.BadConfig, match=r"line [12]: .*save it as UTF-8"):
            change(path)
    assert path.read_bytes() == content


def test_a_line_is_added_behind_lines_that_end_with_cr(path):
    path.write_bytes(json.dumps(LINE).encode() + b"\r")
    add(path)
    assert [token.user for token in token_file.load(str(path))] == ["u", "u1"]


NOT_UTF_8 = "it is not UTF-8 (if the file was saved as UTF-16 or Unicode, save it as UTF-8)"


def test_an_object_with_something_else_after_it_is_skipped(path, caplog):
    path.write_text(json.dumps(LINE) + " {}\n" + json.dumps(OTHER))
    assert [token.sha256[0] for token in token_file.load(str(path))] == ["1"]
    assert "line 1: after the JSON object, there is '{}'" in caplog.text


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"[1]", "it is not a JSON object"),
        (b'"token"', "it is not a JSON object"),
        (b"null", "it is not a JSON object"),
        (b"\xff\xfe{", NOT_UTF_8),
        (json.dumps(LINE).encode("utf-16-le"), NOT_UTF_8),
        (json.dumps(LINE).encode("utf-16-be"), NOT_UTF_8),
    ],
)
def test_a_line_that_is_no_object_is_named_in_plain_words(path, line, problem, caplog):
    path.write_bytes(line + b"\n" + json.dumps(OTHER).encode())
    assert [token.sha256[0] for token in token_file.load(str(path))] == ["1"]
    assert f"line 1: {problem}; the line is skipped" in caplog.text


def test_the_commands(tmp_path, capsys):
    def run(*words):
        status = main.main(["token", words[0], "--state", str(tmp_path), *words[1:]])
        return status, capsys.readouterr().out.splitlines()

    (token,) = run("add", "--user", "alice", "--project", "p")[1]
    run("add", "--user", "ops", "--project", "admin", "--role", "admin", "--days", "1")
    token_id = jsonl.digest(token)[:16]
    status, lines = run("list")
    assert (status, lines[0]) == (0, f"{token_id} alice p member,reader for ever")
    assert " ops admin admin until 2" in lines[1]
    assert token not in "".join(lines)
    assert run("remove", token_id)[0] == 0
    assert run("remove", token_id)[0] == 1
    assert [line.split()[1] for line in run("list")[1]] == ["ops"]


MALFORMED = [
    {"user": "a\nb"},
    {"roles": [1]},
    {"expires": "soon"},
    {"expires": float("nan")},
    {"expires": -1},
    {"expires": 1e300},
]


@pytest.mark.parametrize("more", MALFORMED, ids=str)
def test_what_could_not_be_read_again_is_not_added(tmp_path, more):
    path = tmp_path / "state" / "tokens"
    with pytest.raises(errors.BadConfig, match="the new token"):
        token_file.add(str(path), **{"user": "u", "project": "p", "roles": [], **more})
    assert not path.parent.exists()


def test_concurrent_adds_lose_nothing(path):
    program = (
        "import sys; from imsgate.auth import token_file\n"
        "for n in range(5): print(token_file.add(sys.argv[1], user='u', project='p', roles=[]))"
    )
    command = [sys.executable, "-c", program, str(path)]

    def other(_):
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()

    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        processes = threads.map(other, range(2))
        own = list(threads.map(lambda _: add(path), range(20)))
    added = {jsonl.digest(token) for token in itertools.chain(own, *processes)}
    assert {token.sha256 for token in token_file.load(str(path))} == added
    assert len(added) == 30
    assert sorted(os.listdir(path.parent)) == ["tokens", "tokens.lock"]
