"""The people next door: who the partners and the staff are, how they prove it, and what they send us."""
