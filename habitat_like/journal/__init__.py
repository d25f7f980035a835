"""The journal: what was answered 200 is in it, until every sink has taken it."""
