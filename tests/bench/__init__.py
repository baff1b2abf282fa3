"""Tests of the benchmark: real servers, with the packages of Node.js, so by a target of their own."""
