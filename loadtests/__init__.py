"""Load tests: what the gateway costs, and what moving endpoints does to those who call them. See README.md."""
