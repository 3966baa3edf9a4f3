"""Alert rules, the dashboard and the glossary of metrics, as code; `generate` writes the files made from it."""
