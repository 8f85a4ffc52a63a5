"""The lab: real servers as private instances on loopback, a faulty wire between them, and a mail corpus.

Used by the demo, the tests and the benchmarks; never by Mailferry itself. Every server keeps all its files
under one root, listens on 127.0.0.1 only, and ends when it is stopped or when the process that started it dies.
"""
