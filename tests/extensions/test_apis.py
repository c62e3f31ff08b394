"""Flask-RESTful and flask-smorest."""

from tests.extensions.visitors import Both


def test_restful_marshals_and_links(both: Both) -> None:
    for visitor in both():
        kettle = {"name": "kettle", "price": "19.50", "url": "http://httpbin.test/restful/things/1"}

        assert visitor.get("/restful/things").json == {"things": [kettle]}
        assert visitor.get("/restful/things/1").json == kettle
        assert visitor.send("HEAD", "/restful/things/1").body == b""
        assert visitor.send("DELETE", "/restful/things/1").status == 204


def test_restful_parses_json_and_forms(both: Both) -> None:
    for visitor in both():
        thing = {"name": "cup", "price": 2.5}
        made = visitor.post("/restful/things?name=cup", json=thing)

        assert (made.status, made.json, made["x-made"]) == (201, thing, "yes")
        assert visitor.post("/restful/things", form={"name": "cup", "price": "2.5"}).json == thing


def test_restful_answers_errors_as_json(both: Both) -> None:
    for visitor in both():
        invalid = visitor.post("/restful/things", form={"price": "cheap"})
        answers = [
            visitor.get("/restful/things/7"),
            visitor.send("PUT", "/restful/things/1"),
            visitor.send("PATCH", "/restful/things"),
            visitor.get("/restful/nowhere"),
        ]

        assert invalid.status == 400
        assert set(invalid.json["message"]) == {"name", "price"}
        assert [answer.status for answer in answers] == [404, 409, 405, 404]
        assert answers[1].json["message"] == "sold out"
        assert {answer["content-type"] for answer in answers} == {"application/json"}


def test_smorest_pages_and_filters(both: Both) -> None:
    for visitor in both():
        page = visitor.get("/smorest/books/?page=3&page_size=3")

        assert page.json == [{"id": 7, "title": "Book 7"}]
        assert '"total_pages": 3' in page["x-pagination"]
        assert len(visitor.get("/smorest/books/?title=Book+2").json) == 1


def test_smorest_validates(both: Both) -> None:
    for visitor in both():
        made = visitor.post("/smorest/books/", json={"title": "Tea"})
        refused = visitor.post("/smorest/books/", json={"title": "T", "colour": "red"})
        broken = visitor.send("POST", "/smorest/books/", (("Content-Type", "application/json"),), b"{")

        assert (made.status, made.json) == (201, {"id": 99, "title": "Tea"})
        assert (refused.status, set(refused.json["errors"]["json"])) == (422, {"title", "colour"})
        assert broken.status == 400
        assert visitor.get("/smorest/books/9").json["message"] == "no such book"


def test_smorest_etags(both: Both) -> None:
    for visitor in both():
        etag = visitor.get("/smorest/books/1")["etag"]
        fresh = visitor.get("/smorest/books/1", ("If-None-Match", etag))
        change = (("Content-Type", "application/json"),)
        statuses = [
            visitor.send("PUT", "/smorest/books/1", (*change, *condition), b'{"title": "New"}').status
            for condition in ((), (("If-Match", '"other"'),), (("If-Match", etag),))
        ]

        assert (fresh.status, fresh.body) == (304, b"")
        assert statuses == [428, 412, 200]


def test_smorest_documents_itself(both: Both) -> None:
    for visitor in both():
        document = visitor.get("/smorest/openapi.json").json

        assert set(document["paths"]) == {"/books/", "/books/{book_id}"}
