package main

// reach is what of the system a process needs when it runs.
type reach struct {
	write    []string // folders
	read     []string // files and folders
	connects bool     // to servers
}
