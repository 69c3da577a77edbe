"""The collection's own code for a tracking server: it runs next to MLflow, in the server's own Python.

`python -m atlas_mlflow.MODULE` runs `prepare` before the service starts, `start` and `health` in a container, `gc` by a timer, and `users` and `keys`
after a change of a login or a key. MLflow itself loads `proxy` and `oidc_app`, by the entry points in the folder with the package's metadata.

There are no circular imports. A function imports MLflow, SQLAlchemy and other slow packages only when it needs them.
"""
