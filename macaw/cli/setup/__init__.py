"""`macaw init` and `macaw doctor`: the configuration of an installation, and the diagnosis of its parts."""
