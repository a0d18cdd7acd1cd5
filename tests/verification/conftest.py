import pytest

from tests.verification.site import Site, opened, template


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory):
    return template(tmp_path_factory.mktemp("database"))


@pytest.fixture
def registry(tmp_path, empty_database):
    with opened(tmp_path, empty_database) as registry:
        yield registry


@pytest.fixture
def site(tmp_path, registry):
    return Site.new(tmp_path, registry)
