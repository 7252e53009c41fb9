package wire

import (
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

var (
	// ErrUnknownAPI means the frame names a request kind that is not served.
	// There is no answer that the client could read: close the connection.
	ErrUnknownAPI = errors.New("wire: API key is not served")

	// ErrUnsupportedVersion means a served request kind at a version outside
	// its range. For ApiVersions answer with [AppendUnsupportedApiVersions];
	// for others close the connection, as Kafka does.
	ErrUnsupportedVersion = errors.New("wire: API version is not served")

	// ErrTooLarge means that the frame, or what it would decode to, is beyond
	// its limit. Close the connection.
	ErrTooLarge = errors.New("wire: over the limit")

	// ErrMalformed means bytes that do not form the request they claim to be.
	// Close the connection.
	ErrMalformed = errors.New("wire: malformed")

	// ErrIdle means that no request arrived within [Limits.IdleTimeout].
	ErrIdle = errors.New("wire: connection is idle")

	// ErrStopped means that [Reader.Stop] was called.
	ErrStopped = errors.New("wire: reader is stopped")

	// ErrBusy means that the memory budget did not free enough bytes for a
	// frame within [Limits.BudgetWait].
	ErrBusy = errors.New("wire: memory budget is exhausted")
)

// unknown stands for an API key or version that the frame did not tell.
const unknown = -1

// FrameError names the place where a frame was refused. It unwraps to
// ErrUnknownAPI, ErrUnsupportedVersion, ErrTooLarge or ErrMalformed.
type FrameError struct {
	Key     int16 // API key, -1 when the frame was refused before it was known
	Version int16 // API version, -1 likewise
	Offset  int   // byte within the frame, counted behind the length prefix
	Reason  string
	Err     error
}

// Error says which request was refused, where, and why, in words for the
// person who runs the broker.
func (e *FrameError) Error() string {
	if e.Key == unknown {
		return fmt.Sprintf("frame refused at byte %d: %s", e.Offset, e.Reason)
	}
	return fmt.Sprintf("%s v%d request refused at byte %d: %s", Name(e.Key), e.Version, e.Offset, e.Reason)
}

// Unwrap gives the sentinel to decide by.
func (e *FrameError) Unwrap() error { return e.Err }

// Name is the request kind's name in Kafka's protocol, also for kinds that are
// not served; "Unknown" for a key that Kafka does not have.
func Name(key int16) string {
	if a := lookup(key); a != nil {
		return a.name
	}
	return kmsg.NameForKey(key)
}
