"""The settlement journal: the requests this process has in progress, in a file that outlives it.

journal      what the product uses: begin a request, flush, repair, adopt, close
slots        one request's line, from before its hold is placed until its end
adoption     the files of dead processes
files        a file that is locked by its process
lines        what the bytes of a file mean

It owns one folder for each set of books (`<data folder>/journal/<id of the books>`), and must never
decide what becomes of a hold: it says what was known of a request, and the books say whether that
still matters.

A file is a header and then slots, each one line of 512 bytes that a person can read:

    p 9f86d081 {"entry":{"request_id":"tb_...","account_id":7,...},"usage":null}
    | |        `- payload, padded with spaces to the line's end
    | `- CRC-32 of everything behind it, in hex
    `- state

    free --begin--> placing --dispatch--> dispatched --use---> used --clear--> free
                       |                      |
                       `---------void---------'--------------> void --clear--> free

    placing      the hold may or may not have been committed; nothing was sent upstream
    dispatched   the request is about to be sent, or was
    used         what it used is known
    void         nothing was used; whatever is held is to be given back
    free         its end is committed

A slot is written in place with pwrite, so that a disk that fails is an OSError (a mapped file would
be a signal), and dispatching changes one byte. What pwrite has taken survives this process, however
it dies: the page cache is the kernel's. Only `sync` makes it survive the machine, and only an end
that cannot be committed now is worth that. So after the machine has gone down a file may show any
earlier moment of a slot. `same_boot` tells. A placing one may then have been dispatched; used and
void can be trusted all the same, for nothing follows them but the end.

The state is outside the checksum, and freeing blanks the checksum, so that a slot written in part
reads as it was before, as it should be now, or as corrupt, and never as a third thing. A usage in
the payload counts whatever the state says; the state of a used one without it says dispatched.

Whose file it is, the kernel knows: its process holds an flock on it for life. A lock survives fork,
so a journal is opened in the process that writes it, after the fork. Everything here but `adopt` is
to be called on one event loop's thread. The folder must not be on a network's file system.
"""

from tokenbalance.books.holds.journal.adoption import Abandoned, Unfinished
from tokenbalance.books.holds.journal.journal import Journal
from tokenbalance.books.holds.journal.lines import SLOT_BYTES, SLOTS_MAX, Entry, State
from tokenbalance.books.holds.journal.slots import JournalUnavailable, Slot

__all__ = [
    "SLOTS_MAX",
    "SLOT_BYTES",
    "Abandoned",
    "Entry",
    "Journal",
    "JournalUnavailable",
    "Slot",
    "State",
    "Unfinished",
]
