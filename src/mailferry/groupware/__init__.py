"""Events, contacts, tasks and notes as iCalendar and vCard, and back. Pure: no store, no clock, no network."""
