"""One connection each: connect, receive, send, ping, close.  The rules are not here."""
