package sensor

import (
	"context"

	"github.com/tocsin/tocsin/event"
)

// Sink is where events go. A sensor calls it from one goroutine at a time.
type Sink interface {
	// Publish takes a batch. The batch, with everything that its events refer
	// to, is valid until Publish returns. An error means that nothing of the
	// batch may be assumed to have been taken; the same batch may be given again.
	Publish(ctx context.Context, batch []event.Event) error
}
