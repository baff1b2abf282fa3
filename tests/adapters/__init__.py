"""One adapter at a time, against a fake of Google over real HTTP, TLS and gRPC."""
