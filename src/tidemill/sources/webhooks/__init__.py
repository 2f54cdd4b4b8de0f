"""Parts of the webhook endpoints: signature schemes, handshakes, limits, answers. `sources.webhook` joins them."""
