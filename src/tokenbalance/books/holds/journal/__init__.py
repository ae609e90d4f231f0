"""The settlement journal: the requests that this process has in progress, in a file outliving it.

journal      the interface: begin a request, flush, repair, adopt, close
slots        the line of one request, from before its hold is placed until its end
adoption     the files of dead processes
files        a file that its process has locked
lines        the format of a file

It owns one folder for each set of books (`<data folder>/journal/<id of the books>`). It must never
decide how a hold ends: it keeps what was known of a request, and the books decide whether that
still matters.

A file has a header and then slots. Each slot is one line of 512 bytes, readable by people:

    p 9f86d081 {"entry":{"request_id":"tb_...","account_id":7,...},"usage":null}
    | |        `- payload, padded with spaces to the end of the line
    | `- CRC-32 of everything after it, in hex
    `- state

    free --begin--> placing --dispatch--> dispatched --use---> used --clear--> free
                       |                      |
                       `---------void---------'--------------> void --clear--> free

    placing      the hold may or may not have been committed; nothing was sent upstream
    dispatched   the request is about to be sent, or was
    used         its usage is known
    void         nothing was used; the hold is to be released
    free         its end is committed

A slot is written in place with pwrite: a failing disk is then an OSError (with a mapped file it
would be a signal). Dispatching adds the hold as it was placed. What pwrite has accepted survives
the death of this process, however it dies, because the page cache belongs to the kernel. Only
`sync` makes it survive a crash of the machine, and only an end that cannot be committed now is
worth that.
So after such a crash a file may show any earlier moment of a slot; `same_boot` is then False. A
placing slot may have been dispatched by then. Used and void can be trusted anyway, because only the
end follows them.

The state is outside the checksum, and freeing a slot blanks the checksum. So a slot that was
written in part reads as it was before, as it should be now, or as corrupt, never as anything else.
A usage in the payload counts whatever the state says; a used slot without a usage counts as
dispatched.

The owner of a file is known to the kernel: the process holds an flock on it for life. Locks survive
a fork, so a journal must be opened after the fork, in the process that writes it. Everything here
except `adopt` must be called on the thread of one event loop. The folder must not be on a network
file system.
"""

from tokenbalance.books.holds.journal.adoption import Abandoned, Unfinished
from tokenbalance.books.holds.journal.journal import Journal
from tokenbalance.books.holds.journal.lines import (
    SLOT_BYTES,
    SLOTS_MAX,
    Entry,
    PlacedWith,
    State,
)
from tokenbalance.books.holds.journal.slots import JournalUnavailable, Slot

__all__ = [
    "SLOTS_MAX",
    "SLOT_BYTES",
    "Abandoned",
    "Entry",
    "Journal",
    "JournalUnavailable",
    "PlacedWith",
    "Slot",
    "State",
    "Unfinished",
]
