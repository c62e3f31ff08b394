"""Flask-Limiter."""

from concurrent.futures import ThreadPoolExecutor

from tests.extensions.rules import in_header
from tests.extensions.visitors import Both, Page, Visitor

RULES = (
    in_header("x-ratelimit-reset", r"^\d{10}$", "<time>"),
    in_header("retry-after", r"^3600$|^35\d\d$", "<seconds>"),
)


def limits(page: Page) -> tuple[str | None, ...]:
    return page.header("x-ratelimit-limit"), page.header("x-ratelimit-remaining")


def test_limit_is_counted_down_and_then_answers_429(both: Both) -> None:
    for visitor in both(*RULES):
        caller = ("X-Caller", "counting")
        pages = [visitor.get("/limited/search", caller) for _ in range(4)]

        assert [page.status for page in pages] == [200, 200, 200, 429]
        assert [limits(page) for page in pages] == [("3", "2"), ("3", "1"), ("3", "0"), ("3", "0")]
        assert "3 per 1 hour" in pages[3].text
        assert 3500 < int(pages[3]["retry-after"]) <= 3600


def test_limits_of_callers_and_routes_are_their_own(both: Both) -> None:
    for visitor in both(*RULES):
        one, other = ("X-Caller", "one"), ("X-Caller", "other")
        statuses = [visitor.get("/limited/report", one).status for _ in range(3)]

        assert statuses == [200, 200, 429]
        assert visitor.get("/limited/report", other).status == 200
        assert limits(visitor.get("/limited/other", one)) == ("100", "99")


def test_own_message_of_a_limit_is_answered(both: Both) -> None:
    for visitor in both(*RULES):
        pages = [visitor.get("/limited/report", ("X-Caller", "reader")) for _ in range(3)]

        assert "two reports an hour are enough" in pages[2].text


def test_exempt_route_is_not_counted(both: Both) -> None:
    for visitor in both():
        assert limits(visitor.get("/limited/health")) == (None, None)


def test_caller_is_known_by_address(both: Both) -> None:
    for visitor in both(*RULES):
        assert [visitor.get("/limited/search").status for _ in range(4)] == [200, 200, 200, 429]


def test_simultaneous_requests_share_one_limit(both: Both) -> None:
    def search(visitor: Visitor) -> int:
        return visitor.someone_else().get("/limited/search", ("X-Caller", "at once")).status

    # What remains is looked up once more for the header, when others may have been counted too.
    for visitor in both(*RULES, in_header("x-ratelimit-remaining", "^[012]$", "<number>")):
        with ThreadPoolExecutor(8) as threads:
            statuses = list(threads.map(search, [visitor] * 16))

        assert sorted(statuses) == [200] * 3 + [429] * 13
        visitor.visits.sort(key=lambda visit: visit[1].status)
