"""What DINO, iBOT and their masked kin share: a student taught by its own moving average."""
