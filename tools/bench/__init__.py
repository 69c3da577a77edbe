"""The measurements: what the collection sets up, compared in turns with what it could be replaced with. `make bench` runs them."""
