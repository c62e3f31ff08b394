"""prometheus-flask-exporter, in the process's default registry as its readers are told to use it."""

from flask import Flask
from flask.typing import ResponseReturnValue
from prometheus_flask_exporter import PrometheusMetrics

app = Flask(__name__)
metrics = PrometheusMetrics(app)
metrics.info("app_info", "What runs", version="1.2.3")


@app.get("/page/<name>")
@metrics.counter("page_views", "Views by page", labels={"status": lambda response: response.status_code})
def page(name: str) -> ResponseReturnValue:
    return name


@app.get("/broken")
def broken() -> ResponseReturnValue:
    raise RuntimeError


@app.get("/quiet")
@metrics.do_not_track()
def quiet() -> ResponseReturnValue:
    return "not counted"
