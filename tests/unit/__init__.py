"""Single modules, without a server or a network."""
