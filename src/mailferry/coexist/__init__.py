"""Two systems as one: who gets mail where, changed with a record. Delivers nothing: Postfix reads what stands here."""
