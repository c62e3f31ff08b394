import pytest

from gateway.templates import Parameter, Template, parse_starlette, parse_werkzeug


@pytest.mark.parametrize(
    ("werkzeug", "starlette"),
    [
        ("/", "/"),
        ("/items/", "/items/"),
        ("/user/<name>", "/user/{name}"),
        ("/user/<string:name>", "/user/{name:str}"),
        ("/user/<default:name>", "/user/{name}"),
        ("/items/<int:item_id>", "/items/{item_id:int}"),
        ("/items/<float:price>/<uuid:key>", "/items/{price:float}/{key:uuid}"),
        ("/files/<path:name>/raw", "/files/{name:path}/raw"),
        ("/<a>-<b>.<c>", "/{a}-{b}.{c}"),
    ],
)
def test_both_notations_give_one_template(werkzeug: str, starlette: str) -> None:
    assert parse_werkzeug(werkzeug) == parse_starlette(starlette)


@pytest.mark.parametrize(
    ("rule", "parts"),
    [
        ("/plain", ("/plain",)),
        ("/<name>", ("/", Parameter("name"))),
        ("/<int(min=1, max=5):n>/x", ("/", Parameter("n", "int", "min=1, max=5"), "/x")),
        ("/<any(a, 'b/c'):x>", ("/", Parameter("x", "any", "a, 'b/c'"))),
        ("/<string(length=2):code>", ("/", Parameter("code", "str", "length=2"))),
        ("/<hex_list:h_2>", ("/", Parameter("h_2", "hex_list"))),
        ("/{name}", ("/{name}",)),
    ],
)
def test_parse_werkzeug_keeps_converters_and_their_arguments(rule: str, parts: tuple[str | Parameter, ...]) -> None:
    assert parse_werkzeug(rule) == Template(parts)


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("/{name}", ("/", Parameter("name"))),
        ("/{key:order_key}", ("/", Parameter("key", "order_key"))),
        ("/<name>", ("/<name>",)),
    ],
)
def test_parse_starlette_keeps_convertors(path: str, parts: tuple[str | Parameter, ...]) -> None:
    assert parse_starlette(path) == Template(parts)


@pytest.mark.parametrize(
    ("rule", "host", "name", "typed"),
    [
        ("/a/<int:x>", "", "/a/{x}", "/a/{x:int}"),
        ("/a/<x>", "", "/a/{x}", "/a/{x:str}"),
        ("/a/<path:x>", "", "/a/{x:path}", "/a/{x:path}"),
        ("/a/<int(min=2):x>", "", "/a/{x}", "/a/{x:int(min=2)}"),
        ("/a", "shop.test", "//shop.test/a", "//shop.test/a"),
        ("/a/{x}", "", "/a/{{x}}", "/a/{{x}}"),
    ],
)
def test_template_is_written_in_fastapis_notation(rule: str, host: str, name: str, typed: str) -> None:
    template = parse_werkzeug(rule, host)
    assert (str(template), template.typed()) == (name, typed)


def test_shape_tells_neither_names_nor_kinds() -> None:
    assert parse_werkzeug("/a/<int:x>/b/<y>").shape == parse_starlette("/a/{p:uuid}/b/{q}").shape
    assert parse_werkzeug("/a/<int:x>").shape != parse_werkzeug("/a/<int:x>/").shape


def test_kinds_are_in_the_order_of_the_path() -> None:
    assert parse_werkzeug("/<any(a, b):x>/<y>/<int:z>").kinds == (("any", "a, b"), ("str", ""), ("int", ""))
