"""Real servers for the tests: gateway, nginx, CouchDB-protocol server and a proxy before it."""
