package log_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"millrace/internal/batch"
	"millrace/internal/log"
	"millrace/internal/vfs/crashfs"
	"millrace/record"
)

// rotFixture is a data directory with one partition, before it is damaged.
type rotFixture struct {
	name  string
	disk  *crashfs.FS
	want  *partition
	clean bool // the last stop was clean

	// The recovery point lies in pointFile at pointAt.
	pointFile string
	pointAt   int64

	clusterID string
	epochs    []record.Offset // where each leader epoch ends
	producer  []*sent
	nowMs     int64
}

const rotNowMs = 1_800_000_000_000

var rotTP = record.TopicPartition{Topic: "rot", Partition: 0}

func rotConfig(record.TopicPartition) log.Config {
	c := log.DefaultConfig()
	c.SegmentBytes, c.IndexIntervalBytes, c.RetentionMs = 700, 150, -1
	return c
}

// reports counts what a store tells its operator.
type reports struct{ lines *[]string }

func (r reports) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelWarn }
func (r reports) WithAttrs([]slog.Attr) slog.Handler           { return r }
func (r reports) WithGroup(string) slog.Handler                { return r }
func (r reports) Handle(_ context.Context, rec slog.Record) error {
	*r.lines = append(*r.lines, rec.Message)
	return nil
}

func rotOptions(nowMs int64, lines *[]string, plant func(*log.Options)) log.Options {
	o := log.Options{
		ConfigOf: rotConfig, ReserveBytes: 1, OpenParallel: 1, SyncParallel: 1,
		RetentionInterval: time.Hour, CheckpointInterval: time.Hour, BackgroundSync: time.Hour,
		Now: func() time.Time { return time.UnixMilli(nowMs) },
	}
	if lines != nil {
		o.Logger = slog.New(reports{lines})
	}
	if plant != nil {
		plant(&o)
	}
	return o
}

// rotFixtures are one directory after a clean stop, one after a kill.
func rotFixtures(t *testing.T) []*rotFixture {
	t.Helper()
	f := &rotFixture{name: "clean", clean: true, disk: crashfs.New(), nowMs: rotNowMs,
		want: &partition{tp: rotTP, id: [16]byte{7, 7}, cfg: rotConfig(rotTP)}}
	f.run(t, func(s *log.Store) {
		must(t, s.Create([]log.CreateSpec{{TP: rotTP, TopicID: f.want.id, Config: f.want.cfg}}))
		f.append(t, s, 9)
	})
	// A torn tail starts a second leader epoch.
	f.run(t, func(s *log.Store) { f.append(t, s, 1) })
	must(t, f.disk.Remove(".kafka_cleanshutdown"))
	must(t, f.tear())
	f.run(t, func(s *log.Store) {
		f.append(t, s, 12)
		l, _ := s.Log(rotTP)
		start, err := l.DeleteRecords(3)
		must(t, err)
		f.want.startMin, f.want.startMax = start, start
	})

	killed := *f
	killed.name, killed.clean, killed.disk = "killed", false, f.disk.Clone()
	twin := *f.want
	killed.want, killed.producer = &twin, slices.Clone(f.producer)
	s, err := log.Open(killed.disk, rotOptions(killed.nowMs, nil, nil))
	must(t, err)
	killed.pointFile, killed.pointAt, err = killed.newest(".log")
	must(t, err)
	killed.append(t, s, 8)
	killed.disk = killed.disk.Clone()
	must(t, s.Close())
	return []*rotFixture{f, &killed}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (f *rotFixture) run(t *testing.T, use func(*log.Store)) {
	t.Helper()
	s, err := log.Open(f.disk, rotOptions(f.nowMs, nil, nil))
	must(t, err)
	use(s)
	l, _ := s.Log(rotTP)
	f.clusterID = s.ClusterID()
	f.epochs = nil
	for e := range l.LeaderEpoch() + 1 {
		_, end := l.OffsetForEpoch(e)
		f.epochs = append(f.epochs, end)
	}
	must(t, s.Close())
}

// append adds n synced batches, every second one of an idempotent producer.
func (f *rotFixture) append(t *testing.T, s *log.Store, n int) {
	t.Helper()
	l, _ := s.Log(rotTP)
	for range n {
		o := batch.BuilderOptions{ProducerID: batch.NoProducerID}
		if len(f.want.batches)%2 == 0 {
			o = batch.BuilderOptions{ProducerID: 9}
			if len(f.producer) > 0 {
				last := f.producer[len(f.producer)-1]
				o.BaseSequence = last.BaseSequence + last.Count
			}
		}
		s := f.next(t, o)
		a, err := l.Append(slices.Clone(s.bytes), log.AppendOptions{Sync: true})
		must(t, err)
		must(t, a.Wait(context.Background()))
		if a.Base != s.BaseOffset {
			t.Fatalf("appended at %d, expected %d", a.Base, s.BaseOffset)
		}
		if o.ProducerID >= 0 {
			f.producer = append(f.producer, s)
		}
		f.want.add(s)
		f.want.pending = false
	}
}

func (f *rotFixture) next(t *testing.T, o batch.BuilderOptions) *sent {
	t.Helper()
	b := batch.NewBuilder(o)
	n := len(f.want.batches)
	for i := range 1 + n%3 {
		ts := f.nowMs - 1000 + int64(10*n+i)
		b.Append(record.Timestamp(ts), []byte("key"), []byte(strings.Repeat(string(rune('a'+n%26)), 20+13*(n%5))), nil)
	}
	built, err := b.Build()
	must(t, err)
	h, err := batch.Validate(built)
	must(t, err)
	h.BaseOffset = f.want.next
	return &sent{Header: h, bytes: slices.Clone(built), appendTimeMs: -1}
}

// tear cuts the last batch in half, as a power cut does with unsynced bytes.
func (f *rotFixture) tear() error {
	name, size, err := f.newest(".log")
	if err != nil {
		return err
	}
	torn := f.want.batches[len(f.want.batches)-1]
	f.want.pending = true
	f.want.drop()
	if torn.ProducerID >= 0 {
		f.producer = f.producer[:len(f.producer)-1]
	}
	return errors.Join(f.disk.Cut(name, size-int64(len(torn.bytes)/2)), f.disk.Remove("recovery-point-offset-checkpoint"))
}

func (f *rotFixture) newest(kind string) (name string, size int64, err error) {
	names, err := f.disk.List(rotTP.String())
	for _, base := range names {
		if strings.HasSuffix(base, kind) {
			name = path.Join(rotTP.String(), base)
		}
	}
	if err != nil {
		return "", 0, err
	}
	info, err := f.disk.Stat(name)
	return name, info.Size(), err
}

// rotKinds are the files that are damaged, by the end of their names.
var rotKinds = []string{
	".log", ".index", ".timeindex", ".snapshot", "leader-epoch-checkpoint", "partition.metadata",
	"meta.properties", "recovery-point-offset-checkpoint", "log-start-offset-checkpoint",
}

// rotCounts says how often each kind of file was damaged.
type rotCounts map[string]struct{ flips, cuts int }

const minRot = 80_000

// TestRot turns over every single bit, and tries every shorter length, of every
// file of small data directories. Each time it opens the store and reads all.
// No wrong byte may be served, and nothing may be missing without a word: one
// flipped bit costs one batch at most, and that one is named.
func TestRot(t *testing.T) {
	t.Parallel()
	counts, err := rot(rotFixtures(t))
	if err != nil {
		t.Fatal(err)
	}
	total := 0
	for _, kind := range rotKinds {
		n := counts[kind]
		t.Logf("%s: %d flips, %d cuts", kind, n.flips, n.cuts)
		if n.flips == 0 {
			t.Errorf("no %s was damaged", kind)
		}
		total += n.flips + n.cuts
	}
	if total < minRot {
		t.Errorf("%d damages: fewer than %d prove nothing", total, minRot)
	}
}

func rot(fixtures []*rotFixture) (rotCounts, error) {
	counts := rotCounts{}
	for _, f := range fixtures {
		if err := f.look(f.disk.Clone(), damageDone{}, nil); err != nil {
			return nil, fmt.Errorf("%s, undamaged: %w", f.name, err)
		}
		for _, kind := range rotKinds {
			for _, name := range f.filesOf(kind) {
				if err := f.damageAll(kind, name, counts, nil); err != nil {
					return nil, fmt.Errorf("%s: %w", f.name, err)
				}
			}
		}
	}
	return counts, nil
}

// damageDone is one damage.
type damageDone struct {
	kind, name string
	cut        bool
	at         int64 // bit that was flipped, or length that is left
}

// damageAll damages one file in every way, each time on a fresh copy of the disk.
func (f *rotFixture) damageAll(kind, name string, counts rotCounts, plant func(*log.Options)) error {
	info, err := f.disk.Stat(name)
	if err != nil {
		return err
	}
	n := counts[kind]
	for bit := range info.Size() * 8 {
		n.flips++
		if err := f.damage(damageDone{kind: kind, name: name, at: bit}, plant); err != nil {
			return fmt.Errorf("bit %d (byte %d) of %s flipped: %w", bit, bit/8, name, err)
		}
	}
	for size := range info.Size() {
		n.cuts++
		if err := f.damage(damageDone{kind: kind, name: name, cut: true, at: size}, plant); err != nil {
			return fmt.Errorf("%s cut to %d bytes of %d: %w", name, size, info.Size(), err)
		}
	}
	counts[kind] = n
	return nil
}

func (f *rotFixture) filesOf(kind string) (all []string) {
	for _, dir := range []string{".", rotTP.String()} {
		names, _ := f.disk.List(dir)
		for _, base := range names {
			if strings.HasSuffix(base, kind) {
				all = append(all, path.Join(dir, base))
			}
		}
	}
	return all
}

func (f *rotFixture) damage(d damageDone, plant func(*log.Options)) error {
	disk := f.disk.Clone()
	var err error
	if d.cut {
		err = disk.Cut(d.name, d.at)
	} else {
		err = disk.FlipBit(d.name, d.at)
	}
	if err != nil {
		return err
	}
	return f.look(disk, d, plant)
}
