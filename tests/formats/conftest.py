"""Every format as a fixture, every policy too, and a Redis server for the one that needs it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from format_policies import NAMES as POLICIES
from format_policies import by_policy

from bench_core import formats
from bench_core.errors import MissingExtraError, UnsupportedError
from bench_core.formats.redis_process import redis_server

FILE_FORMATS = [name for name in formats.names() if name != "redis"]


@pytest.fixture(scope="session")
def redis_address() -> Iterator[str]:
    try:
        with redis_server() as address:
            yield address
    except (MissingExtraError, UnsupportedError) as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def get_format(request: pytest.FixtureRequest) -> Callable[[str], formats.Format]:
    """Return a format by its name, or skip with the reason why it cannot work here."""

    def get(name: str) -> formats.Format:
        options = {"address": request.getfixturevalue("redis_address")} if name == "redis" else {}
        format_ = by_policy(name) or formats.get(name, **options)
        try:
            format_.check_available()
        except (MissingExtraError, UnsupportedError) as error:
            pytest.skip(str(error))
        return format_

    return get


@pytest.fixture(params=[*formats.names(), *POLICIES])
def any_format(
    request: pytest.FixtureRequest, get_format: Callable[[str], formats.Format]
) -> formats.Format:
    return get_format(request.param)


@pytest.fixture(params=[*FILE_FORMATS, *POLICIES])
def file_format(
    request: pytest.FixtureRequest, get_format: Callable[[str], formats.Format]
) -> formats.Format:
    return get_format(request.param)
