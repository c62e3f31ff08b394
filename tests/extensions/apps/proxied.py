"""An app that trusts one proxy, by Werkzeug's ProxyFix."""

from flask import Flask, jsonify, redirect, request, session, url_for
from flask.typing import ResponseReturnValue
from werkzeug.middleware.proxy_fix import ProxyFix

app = Flask(__name__)
app.config.update(SECRET_KEY="proxied", SESSION_COOKIE_SECURE=True)
app.wsgi_app = ProxyFix(  # type: ignore[method-assign]
    app.wsgi_app, x_for=1, x_proto=1, x_host=1, x_port=1, x_prefix=1
)


@app.get("/where")
def where() -> ResponseReturnValue:
    session["seen"] = True
    return jsonify(
        {
            "address": request.remote_addr,
            "route": list(request.access_route),
            "scheme": request.scheme,
            "secure": request.is_secure,
            "host": request.host,
            "root": request.url_root,
            "script": request.script_root,
            "path": request.path,
            "url": request.url,
            "external": url_for("where", _external=True),
            "original": {
                name: value
                for name, value in request.environ["werkzeug.proxy_fix.orig"].items()
                if name not in ("SERVER_PORT", "wsgi.url_scheme")
            },
        }
    )


@app.get("/moved")
def moved() -> ResponseReturnValue:
    return redirect(url_for("where"))
