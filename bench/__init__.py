"""Measures Mailferry against its peers and a raw floor, on real servers of the lab. Not part of the tests."""
