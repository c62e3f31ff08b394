"""Flask-Admin."""

import re

import pytest

from tests.extensions.rules import in_header, signing_time
from tests.extensions.visitors import Both, Visitor

ADMIN = "/admin-app/admin"
export_time = in_header("content-disposition", r"20\d\d-\d\d-\d\d_\d\d-\d\d-\d\d", "<time>")
STYLESHEET = "/admin-app/admin/static/admin/css/bootstrap4/admin.css"


def log_in(visitor: Visitor) -> None:
    assert visitor.post(f"{ADMIN}/log-in", form={"password": "open sesame"}).status == 302


def test_stranger_is_sent_to_the_login_page(both: Both) -> None:
    for visitor in both(signing_time):
        assert visitor.get(f"{ADMIN}/")["location"] == f"{ADMIN}/log-in"
        assert visitor.get(f"{ADMIN}/author/").status == 302
        assert "Back office" in visitor.get(f"{ADMIN}/log-in").text
        assert visitor.post(f"{ADMIN}/log-in", form={"password": "please"}).status == 401


def test_list_is_paged_searched_filtered_and_exported(both: Both) -> None:
    def names(visitor: Visitor, query: str) -> list[str]:
        page = visitor.get(f"{ADMIN}/author/{query}").text
        return [name for name in ("Ada", "Grace", "Édith") if name in page]

    for visitor in both(signing_time, export_time):
        log_in(visitor)

        assert visitor.get(f"{ADMIN}/").status == 200
        assert names(visitor, "") == ["Ada", "Grace"]
        assert names(visitor, "?page=1") == ["Édith"]
        assert names(visitor, "?sort=0&desc=1") == ["Grace", "Édith"]
        assert names(visitor, "?search=Gra") == ["Grace"]
        assert names(visitor, "?flt0_0=Ada") == ["Ada"]
        exported = visitor.get(f"{ADMIN}/author/export/csv/?search=Gra")
        assert exported.text == "Name\r\nGrace\r\n"


def test_row_is_made_changed_and_deleted(both: Both) -> None:
    for visitor in both(signing_time):
        log_in(visitor)
        made = visitor.post(f"{ADMIN}/author/new/", form={"name": "Zoé"})
        found = visitor.get(f"{ADMIN}/author/?search=Zo").text
        row = re.search(r'data-pk="(\d+)"', found)
        assert row is not None
        changed = visitor.post(f"{ADMIN}/author/ajax/update/", form={"list_form_pk": row[1], "name": "Zora"})
        deleted = visitor.post(f"{ADMIN}/author/delete/", form={"id": row[1]})

        assert (made.status, made["location"]) == (302, f"{ADMIN}/author/")
        assert (changed.status, changed.text) == (200, "Record was successfully saved.")
        assert deleted.status == 302
        assert "Zora" not in visitor.get(f"{ADMIN}/author/?search=Zo").text


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_static_file(both: Both, method: str) -> None:
    for visitor in both():
        whole = visitor.send(method, STYLESHEET)
        fresh = visitor.send(method, STYLESHEET, (("If-None-Match", whole["etag"]),))
        part = visitor.send(method, STYLESHEET, (("Range", "bytes=10-19"),))

        assert whole.status == 200
        assert whole["content-type"] == "text/css; charset=utf-8"
        assert (fresh.status, part.status, part["content-length"]) == (304, 206, "10")
        assert visitor.get(f"{ADMIN}/static/../../secret").status == 404
