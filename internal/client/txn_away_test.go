package client_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"testing"
	"time"

	"millrace/internal/client"
	"millrace/record"
)

// A session that cannot join names who does not answer, until somebody does.
func TestSessionNamesBrokersThatAreAway(t *testing.T) {
	c := fakeCluster(t)
	away := make(chan struct{})
	c.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		select {
		case <-away:
			return new(net.Dialer).DialContext(ctx, network, address)
		default:
			return nil, &net.OpError{Op: "dial", Net: network, Err: errors.New("nobody is there")}
		}
	}
	session, err := client.NewSession(c, client.SessionConfig{Group: "job", TransactionalID: "job-1", Groups: [][]record.Topic{{clicks}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(session.Close)
	eventually(t, func() bool {
		named, ok := errors.AsType[*client.AwayError](session.Away())
		return ok && slices.Equal(named.Brokers, c.Brokers)
	})
	close(away)
	eventually(t, func() bool { return session.Away() == nil })
}

// eventually waits for what franz-go does in its own time.
func eventually(t *testing.T, f func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it did not come true within a minute")
		}
	}
}
