"""The documentation: a site that Sphinx builds from `docs/`, from the specifications of roles and modules, and from the catalogue of faults."""
