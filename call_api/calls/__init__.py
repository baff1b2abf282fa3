"""The rules: who may see a call, and how it reads. Knows nobody above, and nothing of Google."""
