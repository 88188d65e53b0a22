"""The program's promises about time and memory, measured. `make bench` runs them all; each is a small script too."""
