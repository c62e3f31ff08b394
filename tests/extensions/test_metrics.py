"""prometheus-flask-exporter."""

from tests.extensions.rules import body_length, in_body
from tests.extensions.visitors import Both

# Times, and what is known of the process and the interpreter; their names are compared.
MEASURED = rb"(?m)^((?:python|process)_\S+|\w+_(?:bucket|sum|created)\S*) [\d.e+-]+$"
RULES = (body_length, in_body(MEASURED, rb"\1 <number>"))


def test_metrics_count_what_the_app_answered_and_nothing_else(both: Both) -> None:
    for visitor in both(*RULES):
        for path, status in (("page/a", 200), ("page/a", 200), ("page/b", 200), ("broken", 500), ("quiet", 200)):
            assert visitor.get(f"/metered/{path}").status == status
        page = visitor.get("/metered/metrics")
        lines = page.text.splitlines()

        assert page["content-type"].startswith("text/plain; version=")
        assert 'flask_http_request_total{method="GET",status="200"} 3.0' in lines
        assert 'flask_http_request_total{method="GET",status="500"} 1.0' in lines
        assert 'flask_http_request_duration_seconds_count{method="GET",path="/page/a",status="200"} 2.0' in lines
        assert 'page_views_total{status="200"} 3.0' in lines
        assert 'app_info{version="1.2.3"} 1.0' in lines
        assert not [line for line in lines if "gateway" in line or "/quiet" in line]
