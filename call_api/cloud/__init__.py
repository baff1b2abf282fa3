"""What the rooms that speak to Google share: credentials, tokens, failures, options of channels."""
