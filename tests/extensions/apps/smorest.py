"""flask-smorest: marshmallow schemas, pagination, ETags and an OpenAPI document."""

from typing import Any

from flask import Flask
from flask.views import MethodView
from flask_smorest import Api, Blueprint, Page, abort
from marshmallow import Schema, fields, validate

app = Flask(__name__)
app.config.update(
    API_TITLE="Books", API_VERSION="v1", OPENAPI_VERSION="3.0.3", OPENAPI_URL_PREFIX="/", PROPAGATE_EXCEPTIONS=False
)
blueprint = Blueprint("books", __name__, url_prefix="/books", description="Books on a shelf")
BOOKS: list[dict[str, Any]] = [{"id": number, "title": f"Book {number}"} for number in range(1, 8)]


class BookSchema(Schema):
    id = fields.Int(dump_only=True)
    title = fields.Str(required=True, validate=validate.Length(min=2))


class BookQuery(Schema):
    title = fields.Str()


class ListPage(Page):
    @property
    def item_count(self) -> int:
        return len(self.collection)


@blueprint.route("/")
class Books(MethodView):
    @blueprint.arguments(BookQuery, location="query")
    @blueprint.response(200, BookSchema(many=True))
    @blueprint.paginate(ListPage, page_size=3)
    def get(self, query: dict[str, Any]) -> Any:
        return [book for book in BOOKS if query.get("title", "") in book["title"]]

    @blueprint.arguments(BookSchema)
    @blueprint.response(201, BookSchema)
    def post(self, book: dict[str, Any]) -> Any:
        return {"id": 99, **book}


@blueprint.route("/<int:book_id>")
class Book(MethodView):
    @blueprint.etag
    @blueprint.response(200, BookSchema)
    def get(self, book_id: int) -> Any:
        return _find(book_id)

    @blueprint.etag
    @blueprint.arguments(BookSchema)
    @blueprint.response(200, BookSchema)
    def put(self, change: dict[str, Any], book_id: int) -> Any:
        book = _find(book_id)
        blueprint.check_etag(book, BookSchema)
        return {**book, **change}


def _find(book_id: int) -> dict[str, Any]:
    if not 1 <= book_id <= len(BOOKS):
        abort(404, message="no such book")
    return BOOKS[book_id - 1]


Api(app).register_blueprint(blueprint)
