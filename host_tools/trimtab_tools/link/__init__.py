"""The link between a host and a board: ports, the host's end of a session, and the client on top of both."""
