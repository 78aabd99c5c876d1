"""Drop zones of one's own: a kind of payload that a user's project names, with a table or a function of its own."""
