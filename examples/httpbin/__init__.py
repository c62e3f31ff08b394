"""A FastAPI app that answers as httpbin does, endpoint by endpoint, without Flask."""
