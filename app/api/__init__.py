"""The HTTP API: routes, request validation and middleware."""
