package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Admin lists, describes and changes topics and consumer groups. It is safe for
// several goroutines.
type Admin struct {
	client  *kadm.Client
	raw     *kgo.Client
	brokers []string
	sasl    bool
}

// NewAdmin makes an Admin; it does not reach out yet.
func NewAdmin(c Config) (*Admin, error) {
	c = c.withDefaults()
	raw, err := c.connect(
		kgo.RequestRetries(3),
		kgo.RetryTimeout(c.DialTimeout),
	)
	if err != nil {
		return nil, err
	}
	return &Admin{client: kadm.NewClient(raw), raw: raw, brokers: c.Brokers, sasl: c.Security.SASL}, nil
}

// Close ends the connections.
func (a *Admin) Close() { a.raw.Close() }

// Check reports, within c.DialTimeout, whether a broker can be reached and
// lets this client in: [ErrUnreachable] or [ErrNotAuthorized] when not.
func Check(ctx context.Context, c Config) error {
	a, err := NewAdmin(c)
	if err != nil {
		return err
	}
	defer a.Close()
	return a.Check(ctx)
}

// Check is the function of the same name, over a's connections.
func (a *Admin) Check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	err := a.raw.Ping(ctx)
	if err == nil {
		return nil
	}
	hungUp := a.sasl && errors.Is(err, io.EOF) // some brokers answer a wrong password so
	if hungUp || isAny(err, kerr.SaslAuthenticationFailed, kerr.UnsupportedSaslMechanism, kerr.IllegalSaslState) {
		return fmt.Errorf("%w: %w", ErrNotAuthorized, err)
	}
	var firstRead *kgo.ErrFirstReadEOF
	switch {
	case untrusted(err):
		return fmt.Errorf("%w: %w", ErrUntrusted, err)
	case errors.As(err, &firstRead), errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
		return fmt.Errorf("%w at %v: %w", ErrHungUp, a.brokers, err)
	}
	return fmt.Errorf("%w at %v: %w", ErrUnreachable, a.brokers, err)
}

// checkTimeout is longer than one dial, so that a second address gets its turn.
const checkTimeout = 8 * time.Second

// wrap says what was being done and turns err into this room's errors. A
// message that the broker sent along is kept: it names the field.
func (a *Admin) wrap(doing string, err error, brokerMessage string) error {
	if err == nil {
		return nil
	}
	if brokerMessage != "" {
		err = fmt.Errorf("%w: %s", err, brokerMessage)
	}
	return fmt.Errorf("%s: %w", doing, translate(err, a.brokers))
}

// shardErrors is err without kadm's shards when at least one shard answered:
// a partial answer of a cluster is better than none.
func shardErrors(err error) error {
	var shards *kadm.ShardErrors
	if errors.As(err, &shards) && !shards.AllFailed {
		return nil
	}
	return err
}
