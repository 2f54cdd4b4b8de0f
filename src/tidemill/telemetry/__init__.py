"""Names of everything Tidemill tells about itself; how it is told is in the modules of this package."""
