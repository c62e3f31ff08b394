"""Flask-WTF: forms, and protection against cross-site request forgery."""

from flask import Flask, jsonify, render_template_string
from flask.typing import ResponseReturnValue
from flask_wtf import CSRFProtect, FlaskForm
from flask_wtf.csrf import generate_csrf
from flask_wtf.file import FileAllowed, FileField
from wtforms import StringField
from wtforms.validators import DataRequired, Length

app = Flask(__name__)
app.config["SECRET_KEY"] = "csrf"
csrf = CSRFProtect(app)

PAGE = "<form method=post enctype=multipart/form-data>{{ form.hidden_tag() }}{{ form.title() }}{{ form.picture() }}"


class ArticleForm(FlaskForm):
    title = StringField(validators=[DataRequired(), Length(max=20)])
    picture = FileField(validators=[FileAllowed(["png"])])


@app.route("/article", methods=["GET", "POST"])
def article() -> ResponseReturnValue:
    form = ArticleForm()
    if form.validate_on_submit():
        picture = form.picture.data
        return jsonify(title=form.title.data, picture=picture and [picture.filename, len(picture.read())])
    return render_template_string(PAGE, form=form), 422 if form.errors else 200


@app.get("/token")
def token() -> ResponseReturnValue:
    return generate_csrf()


@app.post("/api")
def api() -> ResponseReturnValue:
    return "done"


@app.post("/hook")
@csrf.exempt
def hook() -> ResponseReturnValue:
    return "anyone may"
