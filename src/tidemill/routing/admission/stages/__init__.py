"""One module per stage of admission: what it holds, what it lets go on, what it drops. Pure."""
