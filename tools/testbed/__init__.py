"""The test bed: throw-away systemd hosts in Docker for Molecule's scenarios and for the demo."""
