"""The recorded network: its hosts, servers, people, and what is known to be true of a recording."""
