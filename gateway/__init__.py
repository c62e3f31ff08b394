"""The strangler gateway: one ASGI server for a Flask app and the FastAPI app that replaces it."""

__version__ = "0.1.0"
