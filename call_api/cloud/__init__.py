"""What the rooms that speak to Google share: access tokens, and options of gRPC channels."""
