"""The rules: who may see a call, and how it reads. Imports no other room, and nothing of Google."""
