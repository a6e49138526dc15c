// Package spread is what a correlator needs to be spread over processes: stage
// one of any number of partitions of events, stage two of any number of
// partitions of signals, with a log of signals in between.
//
//	events, by community ID   → Source  → signals, losses and marks, by home
//	signals, by home          → Keeper  → alerts
//
// Nothing here knows what the log is: its owner reads and writes, and commits
// what was read only after everything made from it is stored or written. What
// then comes twice changes nothing, for signals and alerts are sets.
//
// Three things make the alerts those of one process:
//
//   - The home of a signal is the rule and group (see correlator.Signal.Home), so
//     all that a window may hold comes to one Keeper.
//   - A Keeper's clock is not the latest signal, for the partitions of events are
//     read at different speeds. Each Source marks, in every partition of signals,
//     up to which time it has told everything; the clock is the least of the
//     marks. A partition of events that has been read to its end holds nobody
//     back: its mark is the latest time that any Source has marked. So an event
//     counts exactly as long as it is published within Lateness of the latest
//     event of any sensor, however far behind its reader is.
//   - With what it has read a Keeper commits a Checkpoint: from where its memory
//     would have to be read again, and its marks. Whoever takes the partition
//     over reads that part again and knows what the other knew.
package spread
