"""What the collection atlas.mlflow adds to a tracking server: it runs beside MLflow, in the server's own Python.

`python -m atlas_mlflow.MODULE` runs `prepare` before the service starts, `start` and `health` in a container, `gc` by a timer, and `users` and `keys`
when a login or a key has changed. MLflow itself loads `proxy` and `oidc_app`, by the entry points in the folder with the package's metadata.

No module imports another in a circle. MLflow, SQLAlchemy and others that take long to import are imported by the function that needs them.
"""
