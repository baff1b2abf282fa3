"""What tests share: fakes, servers, links that fail, strategies."""
