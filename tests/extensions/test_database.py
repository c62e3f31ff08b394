"""Flask-SQLAlchemy: sessions end with their request, also when the client does not wait for that."""

import pytest

from tests.extensions.apps.database import POOL_SIZE, ROW_BYTES
from tests.extensions.visitors import Both, Visitor

CLIENTS = 2 * POOL_SIZE + 1
# Flask ends the context of a streamed answer after the view, and that of its generator after the last piece.
TEARDOWNS = 2 * CLIENTS
ALL_ENDED = {"torn down": TEARDOWNS, "connections in use": 0}


@pytest.fixture
def notes(request: pytest.FixtureRequest) -> list[str]:
    """Texts that no other test uses."""
    return [f"{request.node.name[-30:]} {number}" for number in range(3)]


def add(visitor: Visitor, notes: list[str]) -> list[int]:
    return [visitor.post("/database/", form={"text": text}).json["id"] for text in notes]


def test_notes_are_kept_and_found(both: Both, notes: list[str]) -> None:
    for visitor in both():
        ids = add(visitor, notes)

        assert visitor.get("/database/").json[-3:] == notes
        assert [visitor.get(f"/database/{id}").json for id in ids] == [{"text": text} for text in notes]
        assert visitor.get("/database/9999").status == 404


def test_pages_of_notes(both: Both, notes: list[str]) -> None:
    for visitor in both():
        add(visitor, notes)
        page = visitor.get("/database/pages?page=2").json

        assert len(page["texts"]) == 2
        assert page["pages"] == -(-page["total"] // 2)
        assert visitor.get("/database/pages?page=9999").status == 404


def test_what_was_not_committed_is_rolled_back_after_the_request(both: Both, notes: list[str]) -> None:
    for visitor in both():
        assert visitor.post("/database/forgotten", form={"text": notes[0]}).status == 202
        assert notes[0] not in visitor.get("/database/").json


def test_error_leaves_no_broken_session_behind(both: Both, notes: list[str]) -> None:
    for visitor in both():
        add(visitor, notes[:1])
        again = [visitor.post("/database/", form={"text": notes[0]}).status for _ in range(CLIENTS)]

        assert again == [500] * CLIENTS
        assert add(visitor, notes[1:])


def test_streamed_rows_keep_their_session_until_the_last(both: Both, notes: list[str]) -> None:
    for visitor in both():
        add(visitor, notes)
        for _ in range(CLIENTS):
            lines = visitor.get("/database/export?client=reader").text.splitlines()
            assert lines[-3:] == [f"{text} reader" for text in notes]

        assert visitor.get(f"/database/torn-down/reader?times={TEARDOWNS}").json == ALL_ENDED


def test_clients_that_leave_in_the_middle_give_their_connections_back(both: Both, notes: list[str]) -> None:
    for visitor in both():
        add(visitor, notes)
        for _ in range(CLIENTS):
            assert b"200 OK" in visitor.leave("/database/endless?client=leaver", after_bytes=2 * ROW_BYTES)

        assert visitor.get(f"/database/torn-down/leaver?times={TEARDOWNS}").json == ALL_ENDED
        assert visitor.get("/database/").json[-3:] == notes
