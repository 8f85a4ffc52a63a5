"""People: readers of directories and files, cleaning, mapping, the diff (pure), and the writer to OpenLDAP.

A source entry becomes a `model.recipient.Recipient` in `readers/`, and everything after that knows only Recipients.
"""
