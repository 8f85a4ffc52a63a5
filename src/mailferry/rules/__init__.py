"""Exchange's rules, out-of-office and junk lists → Sieve. Pure: connects to nothing, uploads nothing."""
