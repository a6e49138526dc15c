// How a trace is found.
//
// The unit is the conversation: flows of one pair of addresses and one service
// that follow each other closely, seen by any number of sensors. A trace is a
// chain of conversations that respects time: each hop begins no earlier than
// the one that brought the attacker to the host where it begins.
//
// Backward, from the host that acted, Build asks which conversation into it
// can have carried the attacker's hands: it must have been answered and have
// begun before the act. Whether it did is a matter of degree. What speaks for
// and against is added up as log-odds and listed with the hop: alerts about
// the very conversation, remote access, a session that was open when the next
// one began, a pair that had never talked before; and against it a pair that
// always talks, a service that everybody uses, packets that were not seen. A
// hop is taken from one half on; the others are kept as rejected, with their
// reasons. Forward the same is asked of conversations out of the host.
//
// Of several sessions into a host, the one that went on is told by when both
// connections woke from their pauses (correlate.go): Zhang and Paxson,
// "Detecting Stepping Stones" (USENIX Security 2000). It finds what moves
// together, given some minutes of both connections; Donoho et al.,
// "Multiscale Stepping-Stone Detection" (RAID 2002), and Blum, Song and
// Venkataraman, "Detection of Interactive Stepping Stones" (RAID 2004), say how
// much delay and chaff it takes to escape, and a program left on the stone that
// acts by itself escapes for nothing. Contents, which Staniford-Chen and
// Heberlein compared ("Holding Intruders Accountable on the Internet", 1995), are
// neither kept nor mostly legible; host keys, certificates and JA4 are.
// Ranking paths of logins by how unusual and how connected their steps are: Ho
// et al., "Hopper: Modeling and Detecting Lateral Movement" (USENIX Security
// 2021); it cannot tell an attacker who does what is done every day.
//
// A connection that is seen with other addresses is one and the same where its
// bytes, times and time to live say so (translate.go); a host's addresses are
// folded where its link or its name says so (alias.go).
//
// Tracing single packets back through routers (Savage et al., "Practical
// Network Support for IP Traceback", SIGCOMM 2000; Snoeren et al., "Hash-Based
// IP Traceback", SIGCOMM 2001) needs the routers' help; from taps alone, the
// source address of an unanswered packet is a claim, so one-way conversations
// never carry a path here, and of a spoofed flood the trail ends at the link by
// which it came (origin.go).
//
// What the sensors' accounts say was made and is not stored speaks for nothing
// (records.go): it can lower a confidence and never raise one. docs/TRACE.md
// says what each number means.
package trace
