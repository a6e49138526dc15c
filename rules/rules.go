// Package rules is the detection content that comes with Tocsin: a folder for
// each rule, by family, with the rule, events that fire it and events that do
// not.
package rules

import "embed"

// FS holds the rules: FAMILY/NAME/{rule.yml,fires.jsonl,quiet.jsonl}.
//
//go:embed all:*
var FS embed.FS
