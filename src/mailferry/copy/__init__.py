"""Does the actions: `stream` moves the messages of one folder, `folder` brings one folder in step, `mailbox` one
mailbox (with every retry there is), `fleet` many mailboxes on all cores with caps per server. Decides nothing that
`plan` can decide.
"""
