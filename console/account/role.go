// Package account says who may do what: people with roles, how they sign in,
// their sessions, and tokens for programs.
package account

import "slices"

// Permission is what an operation of the console needs.
type Permission string

// Permissions.
const (
	Read    Permission = "read"    // alerts, events, incidents, assets, rules
	Payload Permission = "payload" // bytes of packets
	Triage  Permission = "triage"  // judge alerts, suppress
	Case    Permission = "case"    // begin incidents, link, comment, do tasks
	Search  Permission = "search"  // save searches, try rules on the past
	Export  Permission = "export"  // take records away
	Respond Permission = "respond" // own incidents, change their state, merge, split, pin
	Audit   Permission = "audit"   // read and verify the audit log
	People  Permission = "people"  // see users and tokens
	Admin   Permission = "admin"   // change users and tokens
)

// Permissions are all of them.
var Permissions = []Permission{Read, Payload, Triage, Case, Search, Export, Respond, Audit, People, Admin}

// Role is a name for permissions that go together. None is above the others:
// administration, security and audit may lie with three people.
type Role string

// Roles.
const (
	Viewer        Role = "viewer"
	Analyst       Role = "analyst"
	Responder     Role = "responder"
	Auditor       Role = "auditor"
	Administrator Role = "administrator"
)

// Roles are all of them.
var Roles = []Role{Viewer, Analyst, Responder, Auditor, Administrator}

var grants = map[Role][]Permission{
	Viewer:        {Read},
	Analyst:       {Read, Payload, Triage, Case, Search, Export},
	Responder:     {Read, Payload, Triage, Case, Search, Export, Respond},
	Auditor:       {Audit, People},
	Administrator: {Admin, People},
}

// Grants are the permissions of roles together, in the order of Permissions.
func Grants(roles []Role) []Permission {
	out := []Permission{}
	for _, p := range Permissions {
		if slices.ContainsFunc(roles, func(r Role) bool { return slices.Contains(grants[r], p) }) {
			out = append(out, p)
		}
	}
	return out
}
