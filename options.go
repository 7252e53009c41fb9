package millrace

import (
	"time"

	"millrace/codec"
	"millrace/internal/topology"
	"millrace/record"
)

// Option changes one operator. Which operators take which is said with each
// option; [App.Build] reports one that has no meaning where it stands.
type Option func(*settings)

// settings is what options set.
type settings struct {
	given     kinds // of the options
	label     string
	policy    topology.Policy
	nameless  bool // policy.Topic was given without a name
	recordKey bool
	key       any // codec.Codec of the group's key
	value     any // codec.Codec of the values that cross a repartition topic
	emit      topology.Emit
	wallClock bool
	disorder  record.Timestamp
}

// kinds of options, by the operators that take them.
type kinds uint8

const (
	naming   kinds = 1 << iota // Named
	refusing                   // DeadLetter, Skip, Stop, Retry
	grouping                   // RecordKey, KeyCodec
	crossing                   // ValueCodec
	emitting                   // EmitFinal, EmitBoth, WallClock
	lagging                    // Disorder
)

// kindNames are the options of each kind, in the order of the kinds.
var kindNames = [...]string{"Named", "DeadLetter, Skip, Stop or Retry", "RecordKey or KeyCodec", "ValueCodec", "EmitFinal, EmitBoth or WallClock", "Disorder"}

// check notes options that have no meaning at an operator.
func (s settings) check(g *topology.Graph, where, operator string, takes kinds) {
	if s.nameless {
		g.Fault(where, "%s to a topic without a name", "DeadLetter", "name the topic, or leave the option out for <topic>-dlq")
	}
	for i, names := range kindNames {
		if s.given&^takes&(1<<i) != 0 {
			g.Fault(where, "%s has no meaning at "+operator, names, "leave the option out, or give it to the operator that it is for")
		}
	}
}

func set(options []Option) (s settings) {
	for _, o := range options {
		if o != nil {
			o(&s)
		}
	}
	return s
}

// Named gives an operator without a store the name by which dead letters,
// metrics and Describe call it. The default is the name of its function, or the
// line of the program.
func Named(name string) Option {
	return func(s *settings) { s.given, s.label = s.given|naming, name }
}

// DeadLetter sends what the operator cannot take to the given topic: key, value
// and headers as they were read, with the headers millrace.error,
// millrace.reason, millrace.source and millrace.stage, in the same transaction as
// everything else. Without an option they go to <topic>-dlq of the topic that
// they were read from.
func DeadLetter(to Topic[[]byte, []byte]) Option {
	return func(s *settings) {
		s.given |= refusing
		s.policy.Action, s.policy.Topic = topology.DeadLetter, to.t.Name
		s.nameless = to.t.Name == ""
	}
}

// Skip counts what the operator cannot take, and drops it.
func Skip() Option {
	return func(s *settings) { s.given, s.policy.Action = s.given|refusing, topology.Skip }
}

// Stop stops the job at the first record that the operator cannot take.
func Stop() Option {
	return func(s *settings) { s.given, s.policy.Action = s.given|refusing, topology.Stop }
}

// Retry calls the operator's function up to n times more before a record is
// refused.
func Retry(n int) Option {
	return func(s *settings) { s.given, s.policy.Retries = s.given|refusing, max(n, 0) }
}

// RecordKey says, at GroupBy, that the key is the record's own: if the topic is
// [Topic.Keyed], and nothing on the way has changed the key, no hop is needed.
func RecordKey() Option {
	return func(s *settings) { s.given, s.recordKey = s.given|grouping, true }
}

// KeyCodec stores a group's keys, at GroupBy. The default is [codec.For].
func KeyCodec[K any](c codec.Codec[K]) Option {
	return func(s *settings) { s.given, s.key = s.given|grouping, c }
}

// ValueCodec stores values that cross a repartition topic, at an aggregate that
// cannot be merged. The default is [codec.For].
func ValueCodec[V any](c codec.Codec[V]) Option {
	return func(s *settings) { s.given, s.value = s.given|crossing, c }
}

// EmitFinal sends each result of a window once, when it is final: at a watermark
// of the window's end plus its grace. The default is one result per changed key
// and commit.
func EmitFinal() Option {
	return func(s *settings) { s.given, s.emit = s.given|emitting, topology.EmitFinal }
}

// EmitBoth sends changed results at each commit, and each once more when it is
// final, marked so.
func EmitBoth() Option {
	return func(s *settings) { s.given, s.emit = s.given|emitting, topology.EmitBoth }
}

// WallClock lets event time go on with the wall clock while all partitions are
// read to their end and idle, so that windows become final without new records.
// Records that come later for such a window are late.
func WallClock() Option {
	return func(s *settings) { s.given, s.wallClock = s.given|emitting, true }
}

// Disorder keeps the watermark that far behind the greatest time seen, at From
// and EventTime, for records that come out of order. A window's grace does the
// same for one window; the default is none.
func Disorder(d time.Duration) Option {
	return func(s *settings) {
		s.given, s.disorder = s.given|lagging, record.Timestamp(max(d, 0).Milliseconds())
	}
}

// codecOr is the codec that an option has set, or the default; an option for
// another type is a fault.
func codecOr[T any](g *topology.Graph, where, option string, set any) codec.Codec[T] {
	if set == nil {
		return codec.For[T]()
	}
	c, ok := set.(codec.Codec[T])
	if !ok {
		g.Fault(where, "the option %s is for another type", option, "give it a codec of "+typeName[T]())
		return codec.For[T]()
	}
	return c
}
