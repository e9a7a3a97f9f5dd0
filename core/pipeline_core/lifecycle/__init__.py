"""The life of a run: phases, what is observed, and the pure decision what to do next."""
