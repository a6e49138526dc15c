// Command with runs a program beside the servers that tests share:
//
//	go run ./internal/servers/with go test ./...
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/tocsin/tocsin/internal/servers"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: with PROGRAM [ARGUMENT]...")
		os.Exit(2)
	}
	code, err := servers.With(context.Background(), os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "with:", err)
	}
	os.Exit(code)
}
