"""The key file: what is kept, sealed and refused."""

import json
import os
import pathlib
import stat

import pytest

from imsgate import errors
from imsgate.auth import jsonl, key_file
from imsgate.cmd import main


@pytest.fixture
def files(tmp_path):
    return str(tmp_path / "state" / "keys"), str(tmp_path / "state" / "keys.seal")


def add(files, **more):
    return key_file.add(*files, **{"user": "u", "projects": ["p"], "roles": ["member"], **more})


def test_what_is_added_comes_back(files):
    permanent = add(files, projects=["p", "q"], expires=5.0)
    temporary = add(files, temporary=True)
    keys = key_file.load(*files)
    assert list(keys) == [permanent.access, temporary.access]
    one, other = keys.values()
    assert (one.secret, one.projects, one.roles) == (permanent.secret, ("p", "q"), ("member",))
    assert (one.expires, one.token_sha256, permanent.token) == (5.0, None, None)
    assert other.token_sha256 == jsonl.digest(temporary.token)
    assert (len(one.access), len(one.secret)) == (20, 40)
    assert (one.access + one.secret).isalnum()


def test_no_secret_is_kept_or_shown_in_the_clear(files):
    issued = add(files, temporary=True)
    kept = "".join(pathlib.Path(path).read_text() for path in files)
    for secret in (issued.secret, issued.token):
        assert secret not in kept
        assert secret not in repr(issued)
        assert secret not in repr(key_file.load(*files))
    for path in files:
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(os.path.dirname(files[0])).st_mode) == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="nobody else can give files away")
def test_what_root_writes_belongs_to_whom_the_directory_does(files):
    """The service that reads the files is somebody else."""
    os.makedirs(os.path.dirname(files[0]))
    os.chown(os.path.dirname(files[0]), 65534, 65533)
    one = add(files)
    add(files)
    key_file.remove(files[0], one.access)
    assert {os.stat(path).st_uid for path in files} == {65534}


def test_removing(files):
    one, other = add(files), add(files)
    assert key_file.remove(files[0], one.access)
    assert not key_file.remove(files[0], one.access)
    assert list(key_file.load(*files)) == [other.access]
    assert key_file.load(*files)[other.access].secret == other.secret
    assert key_file.remove(files[0], other.access)
    assert key_file.load(*files) == {}
    assert add(files).access in key_file.load(*files)


def test_an_access_key_is_there_once(files):
    add(files, pair=("AK", "SK"))
    with pytest.raises(errors.BadConfig):
        add(files, pair=("AK", "other"))
    assert key_file.load(*files)["AK"].secret == "SK"


@pytest.mark.parametrize(
    "more",
    [
        ({"user": "a\nb"}, "not printable"),
        ({"projects": []}, "projects is not a list, or is empty"),
        ({"projects": [""], "roles": []}, "roles is not a list, or is empty"),
        ({"roles": ["\x00"]}, "not printable"),
        ({"expires": "tomorrow"}, "expires"),
    ],
    ids=str,
)
def test_what_could_not_be_read_again_is_not_added(files, more):
    change, problem = more
    with pytest.raises(errors.BadConfig, match=problem):
        add(files, **change)
    assert not os.path.exists(os.path.dirname(files[0]))


LINE = {"access": "AK", "user": "u", "projects": ["p"], "roles": ["member"]}
BROKEN = {
    "no-object": "1",
    "no-json": "{",
    "twice": {},
    "no-secret": {"access": "B", "sealed": None},
    "foreign-seal": {"access": "B", "sealed": "gAAAAA"},
    "no-projects": {"access": "B", "projects": []},
    "project-is-a-word": {"access": "B", "projects": "p"},
    "user-is-a-number": {"access": "B", "user": 1},
    "expires-some-day": {"access": "B", "expires": "tomorrow"},
    "token-is-none": {"access": "B", "token_sha256": "00"},
    "token-in-capitals": {"access": "B", "token_sha256": "A" * 64},
    "unknown-key": {"access": "B", "rolls": []},
}


@pytest.mark.parametrize("change", BROKEN.values(), ids=BROKEN)
def test_a_bad_line_is_skipped_logged_and_left_alone(files, caplog, change):
    add(files, pair=("AK", "SK"))
    with open(files[0], "r+", encoding="utf-8") as file:
        good = json.loads(file.read())
        entry = change if isinstance(change, str) else json.dumps({**good, **change})
        file.write("# a comment\n" + entry + "\n")
    before = pathlib.Path(files[0]).read_text()
    assert list(key_file.load(*files)) == ["AK"]
    (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert f"{files[0]} line 3: " in record.getMessage()
    assert "SK" not in record.getMessage()
    other = add(files)
    assert list(key_file.load(*files)) == ["AK", other.access]
    assert pathlib.Path(files[0]).read_text().startswith(before)
    assert key_file.remove(files[0], other.access)
    assert pathlib.Path(files[0]).read_text() == before


def test_a_file_without_a_good_line_is_refused(files):
    add(files)
    pathlib.Path(files[0]).write_text("# a comment\n{\n")
    with pytest.raises(errors.BadConfig, match=f"{files[0]} line 2: ") as caught:
        key_file.load(*files)
    assert caught.value.key == "[aksk] key_file"


def test_a_seal_that_others_may_read_is_refused(files):
    add(files)
    os.chmod(files[1], 0o640)
    with pytest.raises(errors.BadConfig) as caught:
        key_file.load(*files)
    assert caught.value.key == "[aksk] seal_file"


def test_a_lost_seal_is_not_created_again(files):
    """The keys that are there could never be used again."""
    add(files)
    os.unlink(files[1])
    with pytest.raises(errors.BadConfig) as caught:
        add(files)
    assert caught.value.key == "[aksk] seal_file"
    assert not os.path.exists(files[1])


def test_the_commands(tmp_path, capsys):
    def run(*words):
        status = main.main(["key", words[0], "--state", str(tmp_path), *words[1:]])
        return status, capsys.readouterr().out.splitlines()

    status, lines = run("add", "--user", "alice", "--project", "p", "--project", "q")
    made = dict(line.split("=", 1) for line in lines)
    access = made["HUAWEICLOUD_SDK_AK"]
    assert (status, made["HUAWEICLOUD_SDK_PROJECT_ID"]) == (0, "p")
    key = key_file.load(str(tmp_path / "keys"), str(tmp_path / "keys.seal"))[access]
    assert key.secret == made["HUAWEICLOUD_SDK_SK"]
    assert (key.user, key.roles) == ("alice", ("member", "reader"))
    _, lines = run("add", "--user", "ci", "--project", "p", "--temporary", "--days", "1")
    assert lines[2].startswith("HUAWEICLOUD_SDK_SECURITY_TOKEN=")
    _, lines = run("list")
    assert lines[0] == f"{access} alice p,q member,reader permanent for ever"
    assert " temporary until 2" in lines[1]
    assert run("remove", access)[0] == 0
    assert run("remove", access)[0] == 1
    assert len(run("list")[1]) == 1
