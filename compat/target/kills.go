package target

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// Kills takes a broker through kill -9 and restart, again and again.
type Kills struct {
	Broker *Broker
	Random *rand.Rand
	// WhileDown is called between a kill and the restart; may be nil.
	WhileDown func(cycle int, b *Broker) error

	Done  int // kills so far
	Early int // of them, those that were followed by another one during the restart
}

const (
	// liveAtMost is how much longer a broker may live that has done enough.
	liveAtMost = 250 * time.Millisecond
	// killedEarly is the share of restarts that are killed before they are ready.
	killedEarly = 0.15
	earlyWithin = 40 * time.Millisecond
)

// ErrStuck means that a broker that runs got nowhere.
var ErrStuck = errors.New("STUCK")

// Await lets the load run until enough says so, and a random moment longer. It
// ends with the first error of the load, with the broker, and with ErrStuck when
// there is not enough within the given time.
func (k *Kills) Await(ctx context.Context, within time.Duration, failed <-chan error, enough func() bool) error {
	late := time.After(within)
	for !enough() {
		select {
		case err := <-failed:
			return err
		case <-k.Broker.Exited():
			return errors.New("the broker ended by itself")
		case <-ctx.Done():
			return ctx.Err()
		case <-late:
			return fmt.Errorf("%w: too little was done within %s after a restart", ErrStuck, within)
		case <-time.After(2 * time.Millisecond):
		}
	}
	time.Sleep(time.Duration(k.Random.Int64N(int64(liveAtMost))))
	return nil
}

// Next kills the broker and starts it again.
func (k *Kills) Next(ctx context.Context) error {
	if err := k.Broker.Kill(); err != nil {
		return err
	}
	k.Done++
	if k.WhileDown != nil {
		if err := k.WhileDown(k.Done, k.Broker); err != nil {
			return err
		}
	}
	if k.Random.Float64() < killedEarly {
		k.Early++
		if err := k.Broker.StartAndKill(time.Duration(k.Random.Int64N(int64(earlyWithin)))); err != nil {
			return err
		}
	}
	return k.Broker.Start(ctx)
}
