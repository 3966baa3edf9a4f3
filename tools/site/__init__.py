"""The documentation as a searchable site: MkDocs settings are in mkdocs.yml, its hooks in `hooks`."""
