// Command fetch gets the servers that tests need into .cache/servers.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/tocsin/tocsin/internal/servers"
)

func main() {
	if err := servers.Fetch(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "fetch:", err)
		os.Exit(1)
	}
}
