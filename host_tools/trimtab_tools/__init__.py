"""trimtab on the PC: from a model file to a package, and to the board and back."""
