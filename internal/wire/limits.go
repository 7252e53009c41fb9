package wire

import "time"

// Limits bounds what one connection may cost. The zero value means the
// defaults.
type Limits struct {
	// MaxFrameBytes is the longest request frame, Kafka's
	// socket.request.max.bytes. A longer one closes the connection. Default
	// 16 MiB (Kafka: 100 MiB).
	MaxFrameBytes int

	// PreAuthMaxFrameBytes is the same before the client is authenticated.
	// Default 64 KiB.
	PreAuthMaxFrameBytes int

	// FrameTimeout is the longest time between a frame's length prefix and its
	// last byte. Default 30 s.
	FrameTimeout time.Duration

	// IdleTimeout is the longest wait for the next frame, Kafka's
	// connections.max.idle.ms. Default 10 min. It may be up to a quarter
	// shorter in effect.
	IdleTimeout time.Duration

	// BudgetWait is the longest time that a frame waits for room in the memory
	// budget. The connection is not read meanwhile, so its client slows down;
	// after it the connection is closed. Default 10 s.
	BudgetWait time.Duration
}

// WithDefaults is l with each unset field at its default.
func (l Limits) WithDefaults() Limits {
	setDefault(&l.MaxFrameBytes, 16<<20)
	setDefault(&l.PreAuthMaxFrameBytes, 64<<10)
	setDefault(&l.FrameTimeout, 30*time.Second)
	setDefault(&l.IdleTimeout, 10*time.Minute)
	setDefault(&l.BudgetWait, 10*time.Second)
	return l
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
