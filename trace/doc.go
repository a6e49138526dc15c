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
// The ideas are old and their limits known. Correlating the inbound and the
// outbound connection of a stepping stone by time, without content: Zhang and
// Paxson, "Detecting Stepping Stones" (USENIX Security 2000); deliberate delay
// and chaff defeat it, and it says nothing where one of the two connections
// was not captured. Ranking causal paths of logins by how unusual and how
// connected their steps are: Ho et al., "Hopper: Modeling and Detecting
// Lateral Movement" (USENIX Security 2021). Tracing single packets back
// through routers (Savage et al., "Practical Network Support for IP Traceback",
// SIGCOMM 2000) needs the routers' help; from taps alone, the source address
// of an unanswered packet is a claim, so one-way conversations never carry a
// path here.
package trace
