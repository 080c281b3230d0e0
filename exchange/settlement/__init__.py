"""Who owes whom: periods cut exactly, positions, netting and statements."""
