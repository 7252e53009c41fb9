package broker

import (
	"context"
	"fmt"

	"millrace/internal/wire"
)

// smallAnswer is up to where an answer's memory is not accounted for.
const smallAnswer = 64 << 10

// largeAnswer is the reply of a handler whose answer may be large: about
// sizeBytes of the answer budget are taken before it is built and given back
// when it has left, so that many clients that ask for much and read slowly
// cannot exhaust the memory.
func (b *Broker) largeAnswer(sizeBytes int64, build func() wire.Response) reply {
	if sizeBytes <= smallAnswer {
		return func(context.Context) (response, error) { return build(), nil }
	}
	return func(ctx context.Context) (response, error) {
		if err := b.answerBudget.Acquire(ctx, sizeBytes); err != nil {
			return nil, fmt.Errorf("wait for memory for an answer of %d bytes: %w", sizeBytes, err)
		}
		return &accountedAnswer{build(), sizeBytes}, nil
	}
}

// accountedAnswer gives its bytes back once it is written.
type accountedAnswer struct {
	wire.Response
	sizeBytes int64
}

func (a *accountedAnswer) writeFrame(c *conn, correlationID int32) error {
	defer c.b.answerBudget.Release(a.sizeBytes)
	return c.writeMessage(a.Response, correlationID)
}

// distinct keeps the first of equal items, in order. A client that names one
// thing a hundred thousand times is told of it once, as in Kafka.
func distinct[T comparable](items []T) []T {
	seen := make(map[T]bool, len(items))
	kept := items[:0:0]
	for _, item := range items {
		if !seen[item] {
			seen[item] = true
			kept = append(kept, item)
		}
	}
	return kept
}
