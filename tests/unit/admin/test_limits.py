"""Requests per credential: a burst, then so many a second, each credential for itself."""

import pytest

from flowhq.admin.limits import RequestLimits, of_credentials
from flowhq.admin.problems import ProblemError
from flowhq.config import AdminSettings
from tests.fakes.clock import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def limits(clock: FakeClock) -> RequestLimits:
    settings = AdminSettings(requests_per_s=0.5, requests_burst=3)
    return RequestLimits(of_credentials(settings), clock)


def test_a_burst_goes_through_and_the_next_waits_as_told(limits: RequestLimits) -> None:
    for _ in range(3):
        limits.admit("user:asha")
    with pytest.raises(ProblemError) as refused:
        limits.admit("user:asha")
    assert refused.value.kind.name == "too-many-requests"
    assert refused.value.headers == {"Retry-After": "2"}


async def test_who_waits_as_told_is_let_in(limits: RequestLimits, clock: FakeClock) -> None:
    for _ in range(3):
        limits.admit("user:asha")
    await clock.advance(2)
    limits.admit("user:asha")
    with pytest.raises(ProblemError):
        limits.admit("user:asha")


def test_one_credentials_limit_is_not_anothers(limits: RequestLimits) -> None:
    for _ in range(3):
        limits.admit("user:asha")
    limits.admit("token:1")


async def test_nobody_gets_more_than_the_burst_and_the_refill_by_waiting(
    limits: RequestLimits, clock: FakeClock
) -> None:
    admitted = 0
    for _ in range(60):
        try:
            limits.admit("user:asha")
        except ProblemError:
            pass
        else:
            admitted += 1
        await clock.advance(0.7)
    assert admitted == 3 + int(59 * 0.7 * 0.5)
