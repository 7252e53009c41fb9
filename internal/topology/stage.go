package topology

import (
	"errors"
	"fmt"
	"runtime/debug"

	"millrace/record"
)

// Action is what becomes of a record that a stage cannot take.
type Action int8

const (
	DeadLetter Action = iota // it goes to the dead letters, in the same transaction
	Skip                     // it is counted, and dropped
	Stop                     // the task stops with a [StageError]
)

// Policy is how a stage deals with what it cannot take.
type Policy struct {
	Action  Action
	Retries int          // calls of the user's function after the first failed one
	Topic   record.Topic // of dead letters; empty means the source's own, <topic>-dlq
}

// Reasons of a [Refusal].
const (
	ReasonDecode    = "decode"    // the source's codec does not read it
	ReasonEncode    = "encode"    // the sink's or the store's codec cannot write it
	ReasonError     = "error"     // the user's function returned an error
	ReasonPanic     = "panic"     // the user's function panicked
	ReasonTimestamp = "timestamp" // no time, or one outside of all sense, where a window needs one
	ReasonLate      = "late"      // its window was final before it came here
)

// StageError names the record that a stage with the policy [Stop] refused. It
// unwraps to the reason.
type StageError struct {
	Stage  string
	Reason string
	record.TopicPartition
	Offset record.Offset
	Err    error
}

func (e *StageError) Error() string {
	return fmt.Sprintf("stage %q refused %s/%d/%d: %s: %v", e.Stage, e.Topic, e.Partition, e.Offset, e.Reason, e.Err)
}

func (e *StageError) Unwrap() error { return e.Err }

// PanicError is a panic of a user's function.
type PanicError struct {
	Value string
	Stack []byte
}

func (e *PanicError) Error() string { return "panic: " + e.Value }

// caught, deferred around calls of a user's function, makes its panic an error.
func caught(err *error) {
	if p := recover(); p != nil {
		*err = &PanicError{Value: fmt.Sprint(p), Stack: debug.Stack()}
	}
}

// stage is an operator's place in a task: who refuses records, and how.
type stage struct {
	task   *task
	name   string
	policy Policy
	letter int // sink of its own dead letters, -1: that of the source
}

// runner is a loop over the rows from to to. It returns where it ended: at to,
// or at the row whose user's function failed.
type runner interface {
	run(from, to int) (int, error)
}

// drive runs all n rows, and refuses the ones that fail. The loop itself is not
// interrupted otherwise: a good record costs nothing for a bad one's sake.
func (s *stage) drive(r runner, in *rows, n int) error {
	for from := 0; from < n; {
		at, err := r.run(from, n)
		if broken, ok := err.(*brokenError); ok {
			return fmt.Errorf("stage %q: %w", s.name, broken.err)
		}
		for try := 0; err != nil && try < s.policy.Retries; try++ {
			_, err = r.run(at, at+1)
		}
		if err != nil {
			if err := s.refuse(in, at, reasonOf(err), err); err != nil {
				return err
			}
		}
		from = at + 1
	}
	return nil
}

func reasonOf(err error) string {
	if p := (*PanicError)(nil); errors.As(err, &p) {
		return ReasonPanic
	}
	if r := (*reasonError)(nil); errors.As(err, &r) {
		return r.reason
	}
	return ReasonError
}

// reasonError is an error of ours about a record, with its reason.
type reasonError struct {
	reason string
	err    error
}

func (e *reasonError) Error() string { return e.err.Error() }
func (e *reasonError) Unwrap() error { return e.err }

// brokenError is no record's fault: no policy helps, the task cannot go on.
type brokenError struct{ err error }

func (e *brokenError) Error() string { return e.err.Error() }
func (e *brokenError) Unwrap() error { return e.err }

// reasoned is an error of a codec or a user's function that names its own reason,
// of which there must be few: each is a label of a metric.
type reasoned interface {
	error
	DeadLetterReason() string
}

// refuse applies the policy to row i of in. Its error stops the task.
func (s *stage) refuse(in *rows, i int, reason string, why error) error {
	l := s.letterOf(in, i)
	if own, ok := errors.AsType[reasoned](why); ok {
		reason = own.DeadLetterReason()
	}
	switch s.policy.Action {
	case Stop:
		return &StageError{Stage: s.name, Reason: reason, TopicPartition: l.TopicPartition, Offset: l.Offset, Err: why}
	case Skip:
		s.task.open.Skipped++
		return nil
	}
	s.task.open.deadLetter(Refusal{s.name, reason})
	sink := s.letter
	if sink < 0 {
		sink = s.task.letterSink(in)
	}
	s.task.out.Send(sink, ByKey, l.Key, l.Value, l.Timestamp, letterHeaders(l, s.name, reason, why))
	return nil
}

// letterOf is the record that a row comes from.
func (s *stage) letterOf(in *rows, i int) record.Record {
	if in.at == nil {
		return s.derived(in, i)
	}
	b, row := s.task.batch, in.at[i]
	l := record.Record{
		TopicPartition: record.TopicPartition{Topic: s.task.sub.Sources[b.Source].Topic, Partition: b.Partition},
		Offset:         b.Offsets[row],
		Timestamp:      b.Timestamps[row],
		Key:            b.Keys[row],
		Value:          b.Values[row],
	}
	if b.Headers != nil {
		l.Headers = b.Headers[row]
	}
	return l
}

// derived is a record that a table of this task has made: it has no offset.
func (s *stage) derived(in *rows, i int) record.Record {
	key, value := in.origin.bytes(i)
	return record.Record{
		TopicPartition: record.TopicPartition{Topic: in.origin.topic, Partition: s.task.cfg.Partition},
		Offset:         -1,
		Timestamp:      in.times[i],
		Key:            key,
		Value:          value,
	}
}

// Headers of a dead letter, beside those of the original record.
const (
	HeaderError  = "millrace.error"
	HeaderReason = "millrace.reason"
	HeaderSource = "millrace.source" // topic/partition/offset
	HeaderStage  = "millrace.stage"
)

// maxErrorText bounds what a user's error may add to a dead letter.
const maxErrorText = 1000

func letterHeaders(l record.Record, stage, reason string, why error) []record.Header {
	headers := make([]record.Header, 0, len(l.Headers)+4)
	for _, h := range l.Headers {
		switch h.Key {
		case HeaderError, HeaderReason, HeaderSource, HeaderStage: // of an earlier death
		default:
			headers = append(headers, h)
		}
	}
	text := why.Error()
	if len(text) > maxErrorText {
		text = text[:maxErrorText] + "…"
	}
	return append(headers,
		record.Header{Key: HeaderError, Value: []byte(text)},
		record.Header{Key: HeaderReason, Value: []byte(reason)},
		record.Header{Key: HeaderSource, Value: fmt.Appendf(nil, "%s/%d/%d", l.Topic, l.Partition, l.Offset)},
		record.Header{Key: HeaderStage, Value: []byte(stage)},
	)
}
