package policy

import (
	"fmt"
	"slices"
	"strings"
)

// Diff says in sentences what the one policy has and the other has not: lines
// that begin with "-" are of p alone, with "+" of other alone. Names count for
// nothing: what is compared is who may do what, by address.
func (p *Policy) Diff(other *Policy) []string {
	a, b := p.sentences(), other.sentences()
	var lines []string
	for _, s := range a {
		if !slices.Contains(b, s) {
			lines = append(lines, "- "+s)
		}
	}
	for _, s := range b {
		if !slices.Contains(a, s) {
			lines = append(lines, "+ "+s)
		}
	}
	return lines
}

// sentences are what a policy allows, one for each talker, device and kind of
// object, sorted.
func (p *Policy) sentences() []string {
	devices, talkers := map[string]string{}, map[string]string{}
	for _, d := range p.Devices {
		devices[d.Name] = either(d.Addresses)
		if len(d.Units) > 0 {
			devices[d.Name] += fmt.Sprintf(" unit %s", strings.Join(numbers(d.Units), ", "))
		}
	}
	for _, t := range p.Talkers {
		talkers[t.Name] = either(t.Addresses)
	}
	x := p.index()
	var ss []string
	for i := range p.Allow {
		g := &p.Allow[i]
		protocol := g.Protocol
		if protocol == "" {
			protocol = "any protocol"
		}
		how := ""
		if len(g.Functions) > 0 {
			codes := slices.Sorted(slices.Values(g.Functions))
			how += " by function " + strings.Join(numbers(codes), ", ")
		}
		if g.Values != nil {
			how += fmt.Sprintf(", values %g to %g", g.Values.From, g.Values.To)
		}
		if g.Select {
			how += ", after selection"
		}
		if len(g.When) > 0 {
			how += ", in " + x.times([]*Grant{g})
		}
		if g.every > 0 {
			how += fmt.Sprintf(", every %s", g.every)
		}
		objects := []string{"anything"}
		if len(g.Objects) > 0 {
			objects = nil
			for _, o := range g.Objects {
				objects = append(objects, o.String())
			}
		}
		for _, who := range g.Who {
			for _, to := range g.To {
				for _, operation := range g.Operations {
					for _, o := range objects {
						ss = append(ss, fmt.Sprintf("%s may %s %s of %s over %s%s", talkers[who], operation, o, devices[to], protocol, how))
					}
				}
			}
		}
	}
	slices.Sort(ss)
	return slices.Compact(ss)
}

func either(as []addresses) string {
	ss := make([]string, len(as))
	for i, a := range as {
		ss[i] = a.String()
	}
	slices.Sort(ss)
	return strings.Join(ss, " or ")
}
