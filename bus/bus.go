// Package bus is the road from sensors to correlators. mem is the one within a
// process; bustest is the contract as code, for any other.
package bus

import (
	"context"

	"github.com/tocsin/tocsin/event"
)

// Bus carries batches of events. Events with the same community ID, or without
// one of the same sensor, are delivered in the order in which one publisher
// published them, by one call of fn at a time. Delivery is at least once: a
// batch whose fn failed or did not finish comes again.
type Bus interface {
	// Publish takes a batch and returns when it is safe with the bus: of mem,
	// in a bounded queue; it blocks while that is full. The batch is valid
	// until Publish returns.
	Publish(ctx context.Context, batch []event.Event) error
	// Subscribe calls fn with batches until ctx ends, the bus is closed and
	// drained (nil), or fn fails (its error). Several subscribers share the
	// work. The batch is borrowed. After nil from fn the batch is acknowledged.
	Subscribe(ctx context.Context, fn func(ctx context.Context, batch []event.Event) error) error
	// Close says that nothing more will be published. Subscribers drain.
	Close() error
}
