"""Pages of images end at a number of bytes, and the next one goes on exactly behind them."""

import json

import pytest

from tests.api.stack import ADMIN, MEMBER

_LIMIT = 300_000
_CONFIG = f"\n[api]\npage_bytes_max = {_LIMIT}\n"
_PROFILE = "\n[ims]\nprofile = huawei\n"


def _fill(stack, count, size):
    properties = {f"p{number}": "x" * 60_000 for number in range(size // 60_000)}
    return [stack.create(**properties).rpartition("/")[2] for _ in range(count)]


def _pages(call, path, following):
    while path:
        answer = call(path)
        assert answer.status_int == 200, answer.text
        assert answer.content_length == len(answer.body)
        yield answer
        path = following(answer.json)


@pytest.mark.parametrize("sort", ["created_at:asc", "name:desc", "size:asc"])
def test_large_images_come_on_several_pages(start, sort):
    stack = start(config=_CONFIG)
    ids = _fill(stack, 7, 120_000)
    path = f"/v2/images?limit=1000&sort={sort}"
    pages = list(
        _pages(lambda at: stack.call(MEMBER, "GET", at), path, lambda page: page.get("next"))
    )
    assert sorted(image["id"] for page in pages for image in page.json["images"]) == sorted(ids)
    assert [len(page.json["images"]) for page in pages] == [2, 2, 2, 1]
    assert max(len(page.body) for page in pages) < _LIMIT + 1000


def test_marker_of_an_ims_list_leads_behind_the_last_image(start):
    stack = start(config=_CONFIG + _PROFILE)
    ids = _fill(stack, 5, 120_000)

    def following(page):
        marker = page.get("page_info", {}).get("next_marker")
        return marker and f"/v2/cloudimages?limit=1000&marker={marker}"

    pages = _pages(lambda at: stack.call(MEMBER, "GET", at), "/v2/cloudimages", following)
    listed = [[image["id"] for image in page.json["images"]] for page in pages]
    assert [len(page) for page in listed] == [2, 2, 1]
    assert sorted(one for page in listed for one in page) == sorted(ids)


def test_an_image_larger_than_a_page_has_a_page_of_its_own(start):
    stack = start(config="\n[api]\npage_bytes_max = 1\n")
    ids = _fill(stack, 3, 0)
    pages = _pages(
        lambda at: stack.call(ADMIN, "GET", at),
        "/v2/images?visibility=all",
        lambda page: page.get("next"),
    )
    assert [[image["id"] for image in page.json["images"]] for page in pages] == [
        [one] for one in ids[::-1]
    ]


def test_a_long_page_is_sent_in_pieces(start):
    stack = start()
    _fill(stack, 20, 120_000)
    answer = stack.call(MEMBER, "GET", "/v2/images?limit=1000")
    pieces = list(answer.app_iter)
    assert max(map(len, pieces)) < 300_000
    assert len(json.loads(b"".join(pieces))["images"]) == 20


def test_images_that_fit_come_on_one_page(start):
    stack = start()
    _fill(stack, 120, 0)
    page = stack.call(MEMBER, "GET", "/v2/images?limit=1000").json
    assert len(page["images"]) == 120
    assert "next" not in page
    assert list(page) == ["images", "first", "schema"]


@pytest.mark.parametrize("path", ["/v2/images", "/v2/cloudimages"])
def test_a_page_may_be_empty(start, path):
    answer = start(config=_PROFILE).call(MEMBER, "GET", path)
    assert answer.json["images"] == []
