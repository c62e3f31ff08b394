"""What an app may import from the gateway. Works with Flask uninstalled, and without a gateway around it."""
