"""Login by OpenID Connect, through the plugin mlflow-oidc-auth."""
