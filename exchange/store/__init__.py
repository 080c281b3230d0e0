"""MongoDB for the domain: the one place where the domain's values become documents.

`connection` opens the database; `documents` translates values; `books` is what the ledger reads and commits;
`catalog` holds benefits, stock and codes; `periods` reads blocks and entries for settlement. No rule of the exchange
is decided here, but every rule that a decision keeps is held a second time by the write's filter or a validator.
"""
