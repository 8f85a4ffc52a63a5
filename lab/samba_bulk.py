"""Loads LDIF change records into the database files of a Samba domain controller: `samba_bulk.py SMB_CONF [--batch]`.

Runs under Debian's Python, which alone has Samba's modules, so it imports nothing of ours. Standard input holds change
records in parts, divided by lines `# next`; each part is one transaction, and the schema is read again after each.
--batch is for many plain entries: indexes are written once, and the first error ends the transaction.
Invariant: a part that fails changes nothing, and the exit code is not 0.
"""

import sys

from samba.auth import system_session
from samba.param import LoadParm
from samba.samdb import SamDB


def main() -> None:
    conf = LoadParm()
    conf.load(sys.argv[1])
    options = ["batch_mode:1"] if "--batch" in sys.argv else []
    for part in sys.stdin.read().split("# next\n"):
        database = SamDB(session_info=system_session(), lp=conf, options=options)
        database.transaction_start()
        try:
            database.modify_ldif(part, controls=["relax:0"])
        except BaseException:
            database.transaction_cancel()
            raise
        database.transaction_commit()


if __name__ == "__main__":
    main()
