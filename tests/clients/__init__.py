"""Other networks' own clients, from the package index, against a gateway behind nginx."""
