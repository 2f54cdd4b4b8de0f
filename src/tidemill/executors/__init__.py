"""Ways to run one attempt of one task, behind one seam (see `tidemill.runs.attempts`)."""
