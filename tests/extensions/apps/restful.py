"""Flask-RESTful."""

from typing import Any

from flask import Flask, request
from flask_restful import Api, Resource, abort, fields, marshal_with, reqparse

app = Flask(__name__)
api = Api(app, catch_all_404s=True, errors={"OutOfStock": {"message": "sold out", "status": 409}})
parser = reqparse.RequestParser(bundle_errors=True)
parser.add_argument("name", required=True, help="a thing needs a name", location="values")
parser.add_argument("price", type=float, required=True, location="json")
form_parser = parser.copy()
form_parser.replace_argument("price", type=float, required=True, location="form")

THINGS: dict[int, dict[str, Any]] = {1: {"id": 1, "name": "kettle", "price": 19.5}}
SHAPE = {"name": fields.String, "price": fields.Fixed(decimals=2), "url": fields.Url("thing", absolute=True)}


class OutOfStock(Exception):
    """Answered as `errors` says."""


class Things(Resource):
    @marshal_with(SHAPE, envelope="things")
    def get(self) -> Any:
        return list(THINGS.values())

    def post(self) -> Any:
        chosen = parser if request.is_json else form_parser
        return chosen.parse_args(), 201, {"X-Made": "yes"}


class Thing(Resource):
    @marshal_with(SHAPE)
    def get(self, id: int) -> Any:
        if id not in THINGS:
            abort(404, message=f"no thing {id}")
        return THINGS[id]

    def delete(self, id: int) -> Any:
        return "", 204

    def put(self, id: int) -> Any:
        raise OutOfStock


api.add_resource(Things, "/things")
api.add_resource(Thing, "/things/<int:id>", endpoint="thing")
