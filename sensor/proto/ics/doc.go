// Package ics is what parsers of industrial protocols have in common: to cut a
// stream into messages and find the next one after bytes were lost, to keep
// requests until they are answered, to remember values, and to put an event
// together. Each part can be used without the others.
package ics
