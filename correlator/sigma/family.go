package sigma

import (
	"slices"
)

// family is correlations over each other: what all of them group by, without
// aliases, which may mean another field for each rule.
type family struct {
	id     string // the least of its rules' IDs
	shared []string
}

// families finds the correlations that release each other's signals, so that
// all of a family can be kept in one place.
func (b *builder) families(rules []*Rule) {
	of := map[*Rule]*[]*Rule{}
	var order []*Rule // as given, so that nothing depends on the order of a map
	for _, r := range rules {
		if b.alerts[r] != nil {
			of[r] = &[]*Rule{r}
			order = append(order, r)
		}
	}
	for _, r := range order {
		for _, u := range b.users[r] {
			if one, other := of[r], of[u]; one != other {
				*one = append(*one, *other...)
				for _, x := range *other {
					of[x] = one
				}
			}
		}
	}
	b.family = map[*Rule]*family{}
	for _, r := range order {
		members := *of[r]
		if len(members) == 1 || b.family[r] != nil {
			continue
		}
		f := &family{id: r.ID, shared: slices.Clone(r.Correlation.GroupBy)}
		for _, m := range members {
			f.id = min(f.id, m.ID)
			f.shared = slices.DeleteFunc(f.shared, func(name string) bool {
				_, aliased := m.Correlation.Aliases[name]
				return aliased || !slices.Contains(m.Correlation.GroupBy, name)
			})
		}
		slices.Sort(f.shared)
		for _, m := range members {
			b.family[m] = f
			b.alerts[m].Family = f.id
		}
	}
}
