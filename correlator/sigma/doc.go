// Package sigma reads Sigma rules and correlations (specification 2.1), checks
// them against the fields that events have, and matches them.
//
//   - Parse reads the YAML of one file; an unknown key is an error.
//   - Compile resolves fields, makes a tree of tests of each rule, and an index
//     over all rules; after that nothing can fail.
//   - Set.Detector is stage one of a correlator; correlations become windows,
//     whose state correlator keeps.
//
// What Sigma leaves open is decided so: all text is compared without regard to
// case unless cased or re say otherwise; a field that holds a list, or lies in
// a list of objects (ics.objects.value), matches if any of its values does; neq
// is true where no value is equal, and so also where the field is absent; null
// is an absent field, an empty text one that holds nothing; a keyword is looked for in the values of
// the protocol's fields and in the two addresses; times are UTC and weeks are
// those of ISO 8601; an event without one of a correlation's group-by fields
// takes no part in it; value_percentile takes the rank as percentile: in its
// condition.
//
// Beside Sigma's keys a rule may have:
//
//	tocsin:
//	  message: "{source.ip} wrote {ics.objects.value} to {destination.ip}"
//	  group-by: [source.ip]   # of alerts; default source.ip, destination.ip
//	  source: destination.ip  # who acted, where it is not source.ip
//	  target: source.ip       # who was acted upon, where it is not destination.ip
//	  bucket: 6h              # one alert per group and bucket; default 1h
//
// In a message, {count}, {sources}, {targets}, {source} and {target} are those
// of the alert; see correlator.Rule.
package sigma
