package sigma

import (
	"strings"
	"testing"

	"github.com/tocsin/tocsin/correlator"
	"github.com/tocsin/tocsin/event"
)

// TestFamilies: what one correlation releases is at home where the other is.
func TestFamilies(t *testing.T) {
	const base = `
title: Failed
name: failed
logsource: {product: tocsin, service: ssh}
detection: {s: {ics.status.name: failed}, condition: s}
---
title: Many
name: many
id: 00000000-0000-4000-8000-000000000002
correlation: {type: event_count, rules: [failed], group-by: [source.ip, user.name], timespan: 1m, condition: {gte: 3}}
---
title: Everywhere
id: 00000000-0000-4000-8000-000000000001
correlation: {type: event_count, rules: [many], group-by: [%s], timespan: 1h, condition: {gte: 2}}
`
	homes := func(rules string, e event.Event) (homes []string) {
		mustCompile(t, rules).Match(&e, func(s correlator.Signal) {
			homes = append(homes, s.Home())
			for _, next := range s.Then {
				homes = append(homes, next.Home())
			}
		})
		return homes
	}
	one, two := login(0, "failed", "a"), login(0, "failed", "b")
	for by, apart := range map[string]bool{"user.name": true, "destination.ip": false, "user.name, destination.ip": true} {
		rules := strings.Replace(base, "%s", by, 1)
		first, second := homes(rules, one), homes(rules, two)
		if len(first) != 2 || first[0] != first[1] || len(second) != 2 || second[0] != second[1] {
			t.Errorf("group-by %s: homes %q and %q, want one for each event", by, first, second)
		} else if (first[0] != second[0]) != apart {
			t.Errorf("group-by %s: homes %q and %q; apart: want %v", by, first[0], second[0], apart)
		}
	}
}
