"""moto: Amazon's services as Flask apps, between which a WSGI app of its own chooses."""

from moto.server import DomainDispatcherApplication, create_backend_app

app = DomainDispatcherApplication(create_backend_app)
